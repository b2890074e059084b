# tests/cpu/privileged/reset.S - the last 256 bytes of the ROM for Bochs: from the reset vector into flat
# protected mode, copies the payload from the start of the ROM into RAM and jumps to it.

        .intel_syntax noprefix
        .code16
        .globl  _start
_start:
        .set    ROM, 0xFFF00000
        .set    PAYLOAD, 0x100000

        cli
        .byte   0x66, 0x2E, 0x0F, 0x01, 0x16    # lgdt cs:[gdt_pointer], with all 32 bits of the base
        .word   0xFF00 + (gdt_pointer - _start)
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        .byte   0x66, 0xEA            # jmp 0x08:entered_flat
        .long   0xFFFFFF00 + entered_flat - _start
        .word   0x08

        .code32
entered_flat:
        mov     ax, 0x10
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        cld
        mov     esi, ROM
        mov     edi, PAYLOAD
        mov     ecx, 0xF0000 / 4
        rep movsd
        mov     eax, PAYLOAD
        jmp     eax

        .balign 8
gdt:    .quad   0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
gdt_pointer:
        .word   23
        .long   0xFFFFFF00 + gdt - _start

        .org    0xF0
        .code16
        jmp     _start
        .org    0x100
