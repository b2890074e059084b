# tests/cpu/privileged/runner.S - runs the cases of layout.h one after the other, on whatever
# processor it finds itself, and reports through the parallel port.

        .intel_syntax noprefix
        .code32

        .set    TEMPLATE, 0x108000
        .set    CASES, 0x118000
        .set    AREA, 0x200000
        .set    AREA_DWORDS, 0xD000 / 4
        .set    PAGE_DIRECTORY, AREA + 0x9000
        .set    HEADER_DWORDS, 26
        .set    RECORD_DWORDS, 30

        .globl  _start
_start:
        cld
        lgdt    [own_gdt]
        mov     dword ptr [cursor], CASES
        jmp     restore_own_state

next_case:
        mov     ebx, [cursor]
        mov     eax, [ebx]
        test    eax, eax
        jz      done
        mov     esi, TEMPLATE
        mov     edi, AREA
        mov     ecx, AREA_DWORDS
        rep movsd
        mov     esi, ebx
        mov     edi, offset current
        mov     ecx, HEADER_DWORDS
        rep movsd
        mov     ecx, [poke_count]
1:      jecxz   2f
        lodsd
        mov     edx, eax
        lodsd
        mov     [edx], eax
        dec     ecx
        jmp     1b
2:      add     ebx, [ebx]
        mov     [cursor], ebx

        mov     ecx, 0x174
        mov     eax, [sysenter_cs]
        xor     edx, edx
        wrmsr
        inc     ecx
        mov     eax, [sysenter_esp]
        wrmsr
        inc     ecx
        mov     eax, [sysenter_eip]
        wrmsr
        lgdt    [area_gdt]
        lidt    [area_idt]
        mov     eax, PAGE_DIRECTORY
        mov     cr3, eax
        mov     eax, [case_cr4]
        mov     cr4, eax
        xor     eax, eax
        mov     cr2, eax
        mov     dr6, eax
        mov     eax, [case_cr0]
        mov     cr0, eax
        lldt    word ptr [case_ldtr]
        ltr     word ptr [case_tr]
        mov     es, word ptr [case_es]
        mov     fs, word ptr [case_fs]
        mov     gs, word ptr [case_gs]
        mov     esp, offset case_registers
        popad
        test    byte ptr [case_cs], 3
        jnz     to_outer
        lss     esp, [case_esp]
        push    dword ptr cs:[case_eflags]
        push    dword ptr cs:[case_cs]
        push    dword ptr cs:[case_eip]
        mov     ds, word ptr cs:[case_ds]
        iretd
to_outer:
        mov     esp, offset stack_top
        push    dword ptr cs:[case_ss]
        push    dword ptr cs:[case_esp]
        push    dword ptr cs:[case_eflags]
        push    dword ptr cs:[case_cs]
        push    dword ptr cs:[case_eip]
        mov     ds, word ptr cs:[case_ds]
        iretd

# Every vector's gate leads here, with the vector on top of the frame.
entered:
        pushad
        pushfd
        pop     ebp
        cld
        mov     eax, ds
        mov     ebx, es
        mov     cx, 0x10
        mov     ds, cx
        mov     es, cx
        mov     [record_ds], eax
        mov     [record_es], ebx
        mov     [record_eflags], ebp
        mov     eax, fs
        mov     [record_fs], eax
        mov     eax, gs
        mov     [record_gs], eax
        mov     eax, ss
        mov     [record_ss], eax
        mov     eax, cs
        mov     [record_cs], eax
        mov     eax, cr0
        mov     [record_cr0], eax
        mov     eax, cr2
        mov     [record_cr2], eax
        mov     eax, cr4
        mov     [record_cr4], eax
        str     eax
        mov     [record_tr], eax
        sldt    eax
        mov     [record_ldtr], eax
        xor     eax, eax
        mov     [record_dr6], eax
        mov     [record_dr7], eax
        # the vector, ESP, the frame
        mov     eax, ss:[esp + 32]
        mov     edi, offset record
        stosd
        lea     eax, [esp + 36]
        stosd
        mov     ecx, 6
        lea     ebx, [esp + 36]
1:      mov     eax, ss:[ebx]
        stosd
        add     ebx, 4
        loop    1b
        mov     ecx, 8
        mov     ebx, esp
1:      mov     eax, ss:[ebx]
        stosd
        add     ebx, 4
        loop    1b

restore_own_state:
        mov     ax, 0x10
        mov     ss, ax
        mov     esp, offset stack_top
        push    2
        popfd
        mov     eax, 0x11
        mov     cr0, eax
        xor     eax, eax
        mov     cr4, eax
        lgdt    [own_gdt]
        jmp     0x08:reloaded
reloaded:
        mov     ax, 0x10
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        mov     ss, ax
        xor     eax, eax
        lldt    ax
        cmp     dword ptr [started], 0
        mov     dword ptr [started], 1
        je      next_case
        mov     eax, dr7
        mov     [record_dr7], eax
        mov     eax, 0x400
        mov     dr7, eax
        mov     eax, dr6
        mov     [record_dr6], eax

        mov     esi, offset record
        mov     ecx, RECORD_DWORDS
1:      lodsd
        call    report
        loop    1b
        mov     esi, TEMPLATE
        mov     edi, AREA
        mov     ecx, AREA_DWORDS
compare:
        repe cmpsd
        je      compared
        lea     eax, [edi - 4]
        call    report
        mov     eax, [edi - 4]
        call    report
        test    ecx, ecx
        jnz     compare
compared:
        mov     eax, -1
        call    report
        jmp     next_case

# Writes EAX to the parallel port. Changes EAX, EBX and EDX.
report:
        push    ecx
        mov     ebx, eax
        mov     ecx, 4
1:      mov     al, bl
        mov     dx, 0x378
        out     dx, al
        mov     dx, 0x37A
        mov     al, 0x0D
        out     dx, al
        mov     al, 0x0C
        out     dx, al
        shr     ebx, 8
        loop    1b
        pop     ecx
        ret

# Bochs ends when it reads this word here; so does our harness.
done:
        mov     esi, offset shutdown
        mov     ecx, 8
        mov     dx, 0x8900
        rep outsb
        cli
        hlt
shutdown: .ascii "Shutdown"

        .balign 8
gdt:    .quad   0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
own_gdt:
        .word   23
        .long   gdt
area_gdt:
        .word   0xFF
        .long   AREA
area_idt:
        .word   0x7FF
        .long   AREA + 0x1C00

        .balign 4
started: .long  0
cursor: .long   0
current:
        .long   0
case_cr0: .long 0
case_cr4: .long 0
case_eflags: .long 0
case_cs: .long  0
case_eip: .long 0
case_esp: .long 0
case_ss: .long  0
case_ds: .long  0
case_es: .long  0
case_fs: .long  0
case_gs: .long  0
case_tr: .long  0
case_ldtr: .long 0
sysenter_cs: .long 0
sysenter_esp: .long 0
sysenter_eip: .long 0
case_registers: .fill 8, 4, 0
poke_count: .long 0

record: .fill   16, 4, 0
record_eflags: .long 0
record_ds: .long 0
record_es: .long 0
record_fs: .long 0
record_gs: .long 0
record_ss: .long 0
record_cs: .long 0
record_cr0: .long 0
record_cr2: .long 0
record_cr4: .long 0
record_tr: .long 0
record_ldtr: .long 0
record_dr6: .long 0
record_dr7: .long 0

        .org    0x1000
        .set    vector, 0
        .rept   256
        .byte   0x68
        .long   vector
        .byte   0xE9
        .long   entered - (. + 4)
        .set    vector, vector + 1
        .endr

        .org    0x3000
        .fill   0x1000, 1, 0
stack_top:
