// tests/cpu/oracle/harness/entry.S - start, one case from registers to registers, and the way back
// from it: the stub to which the case's trailing jump leads, and the signal trampoline.

#define GPR(n) ((n) * 4)
#define EIP 32
#define EFLAGS 36
#define IN_SELECTORS 40
#define IN_OPTIONS 56
#define IN_FX 112
#define OUT_SELECTORS 40
#define OUT_TRAP 64
#define OUT_FX 80

        .text
        .globl  _start
_start:
        xorl    %ebp, %ebp
        andl    $-16, %esp
        call    harness_main
        hlt

// int system_call(number, a, b, c, d, e, f)
        .globl  system_call
system_call:
        pushl   %ebx
        pushl   %esi
        pushl   %edi
        pushl   %ebp
        movl    20(%esp), %eax
        movl    24(%esp), %ebx
        movl    28(%esp), %ecx
        movl    32(%esp), %edx
        movl    36(%esp), %esi
        movl    40(%esp), %edi
        movl    44(%esp), %ebp
        int     $0x80
        popl    %ebp
        popl    %edi
        popl    %esi
        popl    %ebx
        ret

// void run_case(const struct OracleInput* input): sets the state and jumps to the instruction; comes
// back by the stub or by finish_case. Between the loads of DS and the jump only SS is used.
        .globl  run_case
run_case:
        pushl   %ebx
        pushl   %esi
        pushl   %edi
        pushl   %ebp
        movl    20(%esp), %eax
        movl    %esp, saved_esp
        movl    IN_OPTIONS(%eax), %edx
        testl   $1, %edx
        jz      1f
        fxrstor IN_FX(%eax)
1:      movl    EIP(%eax), %ecx
        movl    %ecx, target_eip
        testl   $2, %edx
        jz      2f
        movw    IN_SELECTORS+0(%eax), %es
        movw    IN_SELECTORS+8(%eax), %fs
        movw    IN_SELECTORS+12(%eax), %gs
        movw    IN_SELECTORS+4(%eax), %ds
2:      pushl   %ss:EFLAGS(%eax)
        popfl
        movl    %ss:GPR(1)(%eax), %ecx
        movl    %ss:GPR(2)(%eax), %edx
        movl    %ss:GPR(3)(%eax), %ebx
        movl    %ss:GPR(4)(%eax), %esp
        movl    %ss:GPR(5)(%eax), %ebp
        movl    %ss:GPR(6)(%eax), %esi
        movl    %ss:GPR(7)(%eax), %edi
        movl    %ss:GPR(0)(%eax), %eax
        jmp     *%ss:target_eip

        .section .oracle_stub, "ax"
        .globl  case_ran_through
case_ran_through:
        movl    %eax, %ss:after+GPR(0)
        movl    %ss:current_output, %eax
        movl    %ecx, %ss:GPR(1)(%eax)
        movl    %edx, %ss:GPR(2)(%eax)
        movl    %ebx, %ss:GPR(3)(%eax)
        movl    %esp, %ss:GPR(4)(%eax)
        movl    %ebp, %ss:GPR(5)(%eax)
        movl    %esi, %ss:GPR(6)(%eax)
        movl    %edi, %ss:GPR(7)(%eax)
        movl    %ss:saved_esp, %esp
        pushfl
        popl    %ss:EFLAGS(%eax)
        pushl   $2              // AC, DF, NT and ID must not reach C code
        popfl
        movl    %ss:after+GPR(0), %ecx
        movl    %ecx, %ss:GPR(0)(%eax)
        movl    $case_ran_through, %ss:EIP(%eax)
        movl    %es, %ecx
        movl    %ecx, %ss:OUT_SELECTORS+0(%eax)
        movl    %cs, %ecx
        movl    %ecx, %ss:OUT_SELECTORS+4(%eax)
        movl    %ss, %ecx
        movl    %ecx, %ss:OUT_SELECTORS+8(%eax)
        movl    %ds, %ecx
        movl    %ecx, %ss:OUT_SELECTORS+12(%eax)
        movl    %fs, %ecx
        movl    %ecx, %ss:OUT_SELECTORS+16(%eax)
        movl    %gs, %ecx
        movl    %ecx, %ss:OUT_SELECTORS+20(%eax)
        movl    $-1, %ss:OUT_TRAP(%eax)
        testl   $1, %ss:current_options
        jz      finish_case
        fxsave  %ss:OUT_FX(%eax)

// Puts the segment registers and the stack back and returns from run_case.
        .globl  finish_case
finish_case:
        movl    $0x2B, %edx
        movl    %ds, %ecx
        cmpl    %edx, %ecx
        je      1f
        movl    %edx, %ds
1:      movl    %es, %ecx
        cmpl    %edx, %ecx
        je      2f
        movl    %edx, %es
2:      movl    %fs, %ecx
        testl   %ecx, %ecx
        jz      3f
        xorl    %edx, %edx
        movl    %edx, %fs
3:      movl    %gs, %ecx
        movl    $0x63, %edx
        cmpl    %edx, %ecx
        je      4f
        movl    %edx, %gs
4:      movl    saved_esp, %esp
        popl    %ebp
        popl    %edi
        popl    %esi
        popl    %ebx
        ret

// The handler of all signals. The kernel has set DS, ES and SS; AC may still be set.
        .globl  signal_entry
signal_entry:
        pushl   $2
        popfl
        pushl   12(%esp)        // the ucontext
        call    record_trap
        jmp     finish_case

        .bss
        .align  16
after:          .skip 64
target_eip:     .skip 4
        .globl  saved_esp
saved_esp:      .skip 4
        .globl  current_output
current_output: .skip 4
        .globl  current_options
current_options: .skip 4

        .section .note.GNU-stack, "", @progbits
