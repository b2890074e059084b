// tests/cpu/oracle/harness/harness.c - the 32-bit process that runs cases on the real processor.
// No libc: a case may leave any value in any register, GS included. Compiled for general registers
// only, so that the x87/SSE state belongs to the cases. After start-up seccomp leaves it read,
// write and exit, so a case that goes astray can do no harm.

#include "../protocol.h"
#include <stddef.h>

_Static_assert(offsetof(struct OracleInput, options) == 56, "entry.S");
_Static_assert(offsetof(struct OracleInput, fx) == 112, "entry.S");
_Static_assert(offsetof(struct OracleOutput, trap) == 64, "entry.S");
_Static_assert(offsetof(struct OracleOutput, fx) == 80, "entry.S");

// Linux system calls of i386.
enum {
  kExit = 1,
  kRead = 3,
  kWrite = 4,
  kMprotect = 125,
  kPrctl = 172,
  kSigaction = 174,
  kSigaltstack = 186,
  kMmap2 = 192,
  kSetThreadArea = 243
};
enum { kProtRead = 1, kProtWrite = 2, kProtExec = 4 };
enum {
  kMapShared = 1,
  kMapPrivate = 2,
  kMapFixed = 0x10,
  kMapAnonymous = 0x20,
  kMapPopulate = 0x8000
};
enum { kPrSetSeccomp = 22, kSeccompStrict = 1 };
enum { kTrapPageFault = 14 };

int system_call(int number, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f);
void run_case(const struct OracleInput* input);
void case_ran_through(void);
void signal_entry(void);
extern struct OracleOutput* current_output;
extern uint32_t current_options;

// The kernel's ABI: struct ucontext and struct sigcontext of i386 (arch/x86/include/uapi/asm).
struct Context {
  uint32_t flags, link, stack[3];
  uint32_t gs, fs, es, ds;
  uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax;
  uint32_t trap, error_code, eip, cs, eflags, esp_at_signal, ss;
  uint32_t fpstate, old_mask, cr2;
};
enum { kFxsaveInFpstate = 112 };

struct Sigaction {
  void (*handler)(void);
  uint32_t flags;
  void (*restorer)(void);
  uint32_t mask[2];
};
enum { kSaSiginfo = 4, kSaOnstack = 0x08000000, kSaNodefer = 0x40000000, kSaRestorer = 0x04000000 };

struct SignalStack {
  void* base;
  int flags;
  uint32_t size;
};

struct UserDescriptor {
  uint32_t entry, base, limit;
  uint32_t big : 1, contents : 2, read_only : 1, limit_in_pages : 1, not_present : 1, useable : 1;
};

static struct OracleShared* const shared = (struct OracleShared*)ORACLE_SHARED;
static uint8_t signal_stack[65536] __attribute__((aligned(64)));

static void copy_words(void* to, const void* from, uint32_t bytes) {
  uint32_t* target = to;
  const uint32_t* source = from;
  for (uint32_t i = 0; i < bytes / 4; ++i)
    target[i] = source[i];
}

// The compiler may ask for these by name.
void* memcpy(void* to, const void* from, size_t size) {
  void* const result = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
  return result;
}
void* memset(void* to, int value, size_t size) {
  void* const result = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
  return result;
}

static void die(int code) {
  for (;;)
    system_call(kExit, (unsigned)code, 0, 0, 0, 0, 0);
}

static void require(int ok, int code) {
  if (!ok) die(code);
}

/// What a signal says about the case: called by signal_entry, which then ends the case.
void record_trap(const struct Context* context) {
  struct OracleOutput* output = current_output;
  output->gpr[0] = context->eax;
  output->gpr[1] = context->ecx;
  output->gpr[2] = context->edx;
  output->gpr[3] = context->ebx;
  output->gpr[4] = context->esp;
  output->gpr[5] = context->ebp;
  output->gpr[6] = context->esi;
  output->gpr[7] = context->edi;
  output->eip = context->eip;
  output->eflags = context->eflags;
  output->selectors[0] = context->es & 0xFFFF;
  output->selectors[1] = context->cs & 0xFFFF;
  output->selectors[2] = context->ss & 0xFFFF;
  output->selectors[3] = context->ds & 0xFFFF;
  output->selectors[4] = context->fs & 0xFFFF;
  output->selectors[5] = context->gs & 0xFFFF;
  output->trap = context->trap;
  output->error_code = context->error_code;
  output->address = context->trap == kTrapPageFault ? context->cr2 : 0;
  if (current_options & ORACLE_USES_FX) {
    memcpy(output->fx, (const uint8_t*)context->fpstate + kFxsaveInFpstate, 416);
  }
}

static void set_up_signals(void) {
  static const int signals[] = {4, 5, 7, 8, 11};  // ILL, TRAP, BUS, FPE, SEGV
  const struct SignalStack stack = {signal_stack, 0, sizeof signal_stack};
  require(system_call(kSigaltstack, (unsigned)&stack, 0, 0, 0, 0, 0) == 0, 10);
  const struct Sigaction action = {
      signal_entry, kSaSiginfo | kSaOnstack | kSaNodefer | kSaRestorer, case_ran_through, {0, 0}};
  for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; ++i) {
    require(system_call(kSigaction, (unsigned)signals[i], (unsigned)&action, 0, 8, 0, 0) == 0, 11);
  }
}

static void map(uint32_t address, uint32_t size, int protection, int flags, int file) {
  const int got = system_call(kMmap2, address, size, (unsigned)protection,
                              (unsigned)(flags | kMapFixed | kMapPopulate), (unsigned)file, 0);
  require((uint32_t)got == address, 12);
}

static void fill_arena(void) {
  for (unsigned page = 0; page < ORACLE_ARENA_PAGES; ++page) {
    if (!oracle_page_mapped(page)) continue;
    const uint32_t start = ORACLE_ARENA + page * 4096u;
    for (uint32_t at = start; at < start + 4096u; at += 4) {
      if (page != ORACLE_READ_ONLY_PAGE) *(uint32_t*)at = oracle_background(at);
    }
  }
}

static void set_up_memory(void) {
  map(ORACLE_SHARED, sizeof(struct OracleShared), kProtRead | kProtWrite, kMapShared,
      ORACLE_FD_SHARED);
  map(ORACLE_CODE, ORACLE_CODE_SIZE, kProtRead | kProtExec, kMapShared, ORACLE_FD_SHARED);
  for (unsigned page = 0; page < ORACLE_ARENA_PAGES; ++page) {
    if (!oracle_page_mapped(page)) continue;
    map(ORACLE_ARENA + page * 4096u, 4096, kProtRead | kProtWrite, kMapPrivate | kMapAnonymous, -1);
  }
  // The page must be present before it loses the right to write, or a store would find no page.
  const uint32_t fixed = ORACLE_ARENA + ORACLE_READ_ONLY_PAGE * 4096u;
  for (uint32_t at = fixed; at < fixed + 4096u; at += 4)
    *(uint32_t*)at = oracle_background(at);
  require(system_call(kMprotect, fixed, 4096, kProtRead, 0, 0, 0) == 0, 13);
}

static void set_up_segments(void) {
  struct UserDescriptor descriptor = {0};
  descriptor.entry = ORACLE_GS >> 3;
  descriptor.base = ORACLE_GS_BASE;
  descriptor.limit = 0xFFFFF;
  descriptor.big = 1;
  descriptor.limit_in_pages = 1;
  descriptor.useable = 1;
  require(system_call(kSetThreadArea, (unsigned)&descriptor, 0, 0, 0, 0, 0) == 0, 14);
  __asm__ volatile("movl %0, %%gs" : : "r"(ORACLE_GS));
  __asm__ volatile("movl %0, %%fs" : : "r"(0));
}

static void run_batch(void) {
  fill_arena();
  const uint32_t count = shared->count;
  for (uint32_t i = 0; i < count; ++i) {
    const struct OracleInput* input = &shared->input[i];
    struct OracleOutput* output = &shared->output[i];
    shared->progress = i;
    for (uint32_t w = 0; w < input->window_count; ++w) {
      const struct OracleWindow* window = &input->windows[w];
      copy_words((void*)window->address, input->memory + window->offset, window->size);
    }
    current_output = output;
    current_options = input->options;
    run_case(input);
    for (uint32_t w = 0; w < input->window_count; ++w) {
      const struct OracleWindow* window = &input->windows[w];
      copy_words(output->memory + window->offset, (const void*)window->address, window->size);
    }
  }
  shared->progress = count;
  for (unsigned page = 0; page < ORACLE_ARENA_PAGES; ++page) {
    if (!oracle_page_mapped(page)) continue;
    memcpy(shared->arena + page * 4096u, (const void*)(ORACLE_ARENA + page * 4096u), 4096);
  }
}

/// Protocol on the command descriptor: a byte out when ready, then a byte in a batch, a byte back.
void harness_main(void) {
  set_up_memory();
  set_up_segments();
  set_up_signals();
  require(system_call(kPrctl, kPrSetSeccomp, kSeccompStrict, 0, 0, 0, 0) == 0, 15);
  char byte = 'R';
  for (;;) {
    if (system_call(kWrite, ORACLE_FD_COMMAND, (unsigned)&byte, 1, 0, 0, 0) != 1) die(0);
    if (system_call(kRead, ORACLE_FD_COMMAND, (unsigned)&byte, 1, 0, 0, 0) != 1) die(0);
    run_batch();
  }
}
