# guest/recipe/sparse.py - the form in which a disk image is stored: only its written parts, in one zstd frame.
#
# A 4 GiB disk with 40 MB on it must unpack in the time that 40 MB take. The unpacked stream is, all
# little-endian:
#
#     8 bytes   "SNOWDISK"
#     u32       version, 1
#     u32       number of extents
#     u64       size of the disk in bytes
#     extents   u64 offset, u64 length: ascending, not overlapping, multiples of 4096, within the disk
#     data      the extents' bytes one after the other; all else on the disk is zero

import os
import struct
import subprocess

from .cache import BuildError

_BLOCK = 4096


def _extents(image):
    """Runs of blocks that are not zero."""
    found = []
    zero = bytes(_BLOCK)
    with open(image, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        offset = 0
        while offset < size:
            try:
                offset = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(file.fileno(), offset, os.SEEK_HOLE)
            file.seek(offset)
            while offset < end:
                block = file.read(_BLOCK)
                if block != zero[:len(block)]:
                    if found and found[-1][0] + found[-1][1] == offset:
                        found[-1][1] += _BLOCK
                    else:
                        found.append([offset, _BLOCK])
                offset += _BLOCK
    return size, found


def pack(image, packed):
    size, extents = _extents(image)
    with open(packed, "wb") as out, open(image, "rb") as file:
        zstd = subprocess.Popen(["zstd", "-q", "-19", "--check", "-c"], stdin=subprocess.PIPE,
                                stdout=out)
        zstd.stdin.write(struct.pack("<8sIIQ", b"SNOWDISK", 1, len(extents), size))
        for extent in extents:
            zstd.stdin.write(struct.pack("<QQ", *extent))
        for offset, length in extents:
            file.seek(offset)
            zstd.stdin.write(file.read(length))
        zstd.stdin.close()
        if zstd.wait():
            raise BuildError(f"zstd failed on {image}")


def unpack(packed, image):
    """Writes the disk as a sparse file."""
    with subprocess.Popen(["zstd", "-dqc", packed], stdout=subprocess.PIPE) as zstd, \
            open(image, "wb") as file:
        magic, version, count, size = struct.unpack("<8sIIQ", zstd.stdout.read(24))
        if magic != b"SNOWDISK" or version != 1:
            raise BuildError(f"{packed} is not a disk image of version 1")
        extents = [struct.unpack("<QQ", zstd.stdout.read(16)) for _ in range(count)]
        file.truncate(size)
        for offset, length in extents:
            file.seek(offset)
            file.write(zstd.stdout.read(length))
