#!/usr/bin/env python3
# guest/tests/windows.py - how many host mappings the guest's address spaces take, from a dump of its RAM.
#
#   windows.py build/guest/System.map DUMP...
#
# A dump is guest-physical memory as a file (QEMU's monitor: pmemsave 0 0x8000000 FILE). docs/windows.md has
# the terms and the figures.

import argparse
import array
import collections

PRESENT, WRITABLE, USER, DIRTY, LARGE = 1, 2, 4, 64, 128
ACCESSED_AND_DIRTY = 0x60
KERNEL_START = 0xB0000000
FIRST_KERNEL = KERNEL_START >> 22
LENGTHS = (1, 2, 4, 8, 16, 32, 64, 256)

Window = collections.namedtuple("Window", "mappings runs holes pages")


def table(ram, frame):
    entries = array.array("I")
    entries.frombytes(ram[frame * 4096:(frame + 1) * 4096])
    return entries


def directories(ram, swapper):
    """Page directories of live processes: the kernel's half is the kernel's, and there is a stack. Pages that
    were directories once have nothing in their user half."""
    kernel = table(ram, swapper)[FIRST_KERNEL:]
    used = [i for i, entry in enumerate(kernel) if entry]
    probe = used[0]

    def same(entry, i):
        return (entry ^ kernel[i]) & ~ACCESSED_AND_DIRTY == 0

    for frame in range(len(ram) // 4096):
        at = frame * 4096 + (FIRST_KERNEL + probe) * 4
        if frame == swapper or not same(int.from_bytes(ram[at:at + 4], "little"), probe):
            continue
        entries = table(ram, frame)
        equal = sum(same(entries[FIRST_KERNEL + i], i) for i in used)
        if equal >= 0.9 * len(used) and entries[FIRST_KERNEL - 1] & PRESENT:
            yield entries


def user_pages(ram, directory):
    """(linear page, physical page, number, may be mapped writable), ascending."""
    frames = len(ram) // 4096
    for i, entry in enumerate(directory[:FIRST_KERNEL]):
        if not entry & PRESENT or entry >> 12 >= frames:
            continue
        if entry & LARGE:
            yield i << 10, entry >> 12, 1024, bool(entry & WRITABLE and entry & DIRTY)
            continue
        for j, page in enumerate(table(ram, entry >> 12)):
            if page & PRESENT and page & entry & USER and page >> 12 < frames:
                yield i << 10 | j, page >> 12, 1, bool(page & WRITABLE and page & DIRTY)


def windows(ram, swapper):
    found, lengths = [], collections.Counter()
    for directory in directories(ram, swapper):
        runs = holes = pages = length = 0
        expected = None
        for linear, physical, number, writable in user_pages(ram, directory):
            pages += number
            if expected == (linear, physical, writable):
                length += number
            else:
                if expected:
                    lengths[length] += 1
                    holes += expected[0] != linear
                runs, length = runs + 1, number
            expected = (linear + number, physical + number, writable)
        if length:
            lengths[length] += 1
        found.append(Window(runs + holes, runs, holes, pages))
    return sorted(found), lengths


def main():
    parser = argparse.ArgumentParser(description="Counts the runs of pages in dumps of guest RAM.")
    parser.add_argument("system_map")
    parser.add_argument("dump", nargs="+")
    options = parser.parse_args()
    with open(options.system_map, encoding="ascii") as file:
        symbols = {name: int(address, 16) for address, _, name in map(str.split, file)}
    swapper = (symbols["swapper_pg_dir"] - KERNEL_START) >> 12
    print("dump windows pages runs holes mappings smallest median largest", *LENGTHS, "more")
    for path in options.dump:
        with open(path, "rb") as file:
            found, lengths = windows(file.read(), swapper)
        histogram = [0] * (len(LENGTHS) + 1)
        for length, number in lengths.items():
            histogram[sum(length > bound for bound in LENGTHS)] += number
        print(path, len(found), *(sum(getattr(w, key) for w in found)
                                  for key in ("pages", "runs", "holes", "mappings")),
              found[0].mappings, found[len(found) // 2].mappings, found[-1].mappings, *histogram)


if __name__ == "__main__":
    main()
