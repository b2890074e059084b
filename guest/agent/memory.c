/* guest/agent/memory.c - who keeps what of the machine's memory: huge pages for PostgreSQL,
 * programs that stay. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define HUGE_PAGE_BYTES (4u << 20)
#define HUGE_PAGES_FILE "/proc/sys/vm/nr_hugepages"

/* A smaller machine would rather keep what is not used free. */
#define LEAST_MIB_FOR_HUGE_PAGES 88
/* For the server's code and constants (guest/patches/postgresql-huge-text.patch). */
#define HUGE_PAGES_OF_TEXT 3
/* What processes may promise themselves of the memory that huge pages leave; the kernel and the
 * pages of programs need the rest. */
#define PERCENT_FOR_PROCESSES "85"
/* What is cached beyond that is read again faster than a stored machine with it is written. */
#define LARGE_CACHE_KIB (64ul << 10)

/* Shared memory and the server's code in 4 MiB pages: an eighth of the host's mappings, a third of
 * the page faults, and page tables that a new backend need not copy. Taken when PostgreSQL asks, so
 * they fit its settings. */
static void allow_huge_pages(uint64_t mebibytes) {
  unsigned pages =
      mebibytes < LEAST_MIB_FOR_HUGE_PAGES ? 0 : (unsigned)(mebibytes / 2 / 4) + HUGE_PAGES_OF_TEXT;
  char text[16];
  snprintf(text, sizeof text, "%u", pages);
  write_text("/proc/sys/vm/nr_overcommit_hugepages", text);
}

/* What every backend executes beside the server's own code is read once, in order, and stays: so
 * its pages are neighbours in memory, and the host needs few mappings for them. What comes back
 * page by page after having been reclaimed is scattered. */
static void keep_libraries(void) {
  static const char* const files[] = {"/usr/lib/ld-linux.so.2", "/usr/lib/i386-linux-gnu/libc.so.6",
                                      "/usr/lib/postgresql/plpgsql.so"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    int fd = open(files[i], O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd >= 0 && fstat(fd, &status) == 0 &&
        mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED | MAP_LOCKED, fd, 0) ==
            MAP_FAILED) {
      log_line("keep %s in memory: %s", files[i], strerror(errno));
    }
    if (fd >= 0) close(fd);
  }
}

void memory_settle(void) {
  struct sysinfo info;
  if (sysinfo(&info) < 0) return;
  uint64_t mebibytes = (uint64_t)info.totalram * info.mem_unit >> 20;
  allow_huge_pages(mebibytes);
  if (mebibytes < LEAST_MIB_FOR_HUGE_PAGES) return;
  keep_libraries();
  /* Files that were read would fill all of memory, and heaps then get single pages, in descending
   * order: each a fault and a mapping of the host. So the page cache, which is cheap to fill again
   * here, leaves 10 to 20 % free. */
  write_text("/proc/sys/vm/watermark_scale_factor", "1000");
  /* Without compaction nothing comes of what this would set aside, an eighth of the memory. */
  write_text("/proc/sys/vm/watermark_boost_factor", "0");
  /* Who asks for more than there is shall hear "out of memory" (53200), and not be killed by the
   * kernel with all other sessions (PostgreSQL's documentation, 18.4.4). */
  write_text("/proc/sys/vm/overcommit_ratio", PERCENT_FOR_PROCESSES);
  write_text("/proc/sys/vm/overcommit_memory", "2");
}

/* --- while PostgreSQL is not running ---------------------------------------------------------- */

static unsigned long meminfo(const char* name) {
  char line[128];
  unsigned long value = 0;
  FILE* file = fopen("/proc/meminfo", "re");
  if (!file) return 0;
  size_t length = strlen(name);
  while (fgets(line, sizeof line, file)) {
    if (strncmp(line, name, length) == 0) value = strtoul(line + length, NULL, 10);
  }
  fclose(file);
  return value;
}

bool memory_caches_are_large(void) {
  return meminfo("Cached:") > LARGE_CACHE_KIB;
}

void memory_keep_huge_pages(bool keep) {
  char text[16];
  snprintf(text, sizeof text, "%lu", keep ? meminfo("HugePages_Total:") : 0);
  write_text(HUGE_PAGES_FILE, text);
}

void memory_clear_huge_pages(void) {
  size_t bytes = meminfo("HugePages_Free:") * HUGE_PAGE_BYTES;
  if (bytes == 0) return;
  void* pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
  if (pages != MAP_FAILED) munmap(pages, bytes); /* the kernel clears what it gives out */
}
