// vm/cpu/translator/stubs.cc - saving and loading guest registers, flags and vector state.
//
// The C++ side wants (System V AMD64 ABI, 3.2.3): DF clear, an empty x87 stack, its own MXCSR.
// Guest x87 and SSE state is saved into vector_image only if it is in the registers at all.
#include "vm/cpu/translator/stubs.h"

#include <array>
#include <initializer_list>

namespace snowglobe::vm {
namespace {

constexpr std::array<HostRegister, 4> kScratch = {kR8, kR9, kR10, kR11};

void bytes(Emitter& out, std::initializer_list<u8> values) {
  for (const u8 value : values)
    out.byte(value);
}

Address field(std::size_t offset) {
  return layout::in_context(offset);
}

void emit_load_guest(Emitter& out) {
  out.load64(kRsp, field(offsetof(TranslatorContext, return_stack)));
  out.compare_immediate32(field(offsetof(TranslatorContext, restore_vectors)), 0);
  const u32 no_vectors = out.jump_forward_if(HostCondition::kZ);
  out.memory(0, 0x0FAE, 1, field(offsetof(TranslatorContext, vector_image)), true);  // fxrstor64
  out.store_immediate32(field(offsetof(TranslatorContext, restore_vectors)), 0);
  out.memory(0, 0xC6, 0, field(offsetof(TranslatorContext, vectors_live)));
  out.byte(1);
  out.bind(no_vectors);
  out.load64(kJumpTable, field(offsetof(TranslatorContext, jump_table)));
  out.load64(kCodeTable, field(offsetof(TranslatorContext, code_table)));
  for (std::size_t i = 0; i < kScratch.size(); ++i)
    out.load64(kScratch[i], field(offsetof(TranslatorContext, scratch) + 8 * i));
  out.load32(kRax, field(offsetof(TranslatorContext, flags_image)));
  bytes(out, {0x04, 0x7F, 0x9E});  // add al, 127; sahf
  for (const u8 guest : {kEax, kEcx, kEdx, kEbx, kEsp, kEbp, kEsi, kEdi})
    out.load32(host_register(guest), layout::guest_register(guest));
  out.jump_to(field(offsetof(TranslatorContext, resume)));
}

void emit_save_guest(Emitter& out) {
  out.store64(field(offsetof(TranslatorContext, return_stack)), kRsp);
  out.load64(kRsp, field(offsetof(TranslatorContext, host_stack)));
  for (const u8 guest : {kEax, kEcx, kEdx, kEbx, kEsp, kEbp, kEsi, kEdi})
    out.store32(layout::guest_register(guest), host_register(guest));
  bytes(out, {0x9F});                 // lahf
  out.registers(0, 0x0F90, 0, kRax);  // seto al
  out.store32(field(offsetof(TranslatorContext, flags_image)), kRax);
  for (std::size_t i = 0; i < kScratch.size(); ++i)
    out.store64(field(offsetof(TranslatorContext, scratch) + 8 * i), kScratch[i]);
  out.compare_byte(field(offsetof(TranslatorContext, vectors_live)), 0);
  const u32 no_vectors = out.jump_forward_if(HostCondition::kZ);
  out.memory(0, 0x0FAE, 0, field(offsetof(TranslatorContext, vector_image)), true);  // fxsave64
  out.memory(0, 0xC6, 0, field(offsetof(TranslatorContext, vectors_live)));
  out.byte(0);
  bytes(out, {0xDB, 0xE3});                                                  // fninit
  out.memory(0, 0x0FAE, 2, field(offsetof(TranslatorContext, host_mxcsr)));  // ldmxcsr
  out.bind(no_vectors);
}

// Calls the handler; goes on at `go_on` or returns from enter.
void emit_call_handler(Emitter& out, std::size_t handler, const u8* go_on) {
  out.load64(kRdi, field(offsetof(TranslatorContext, handler_object)));
  out.move32(kRsi, kR10);
  out.memory(0, 0xFF, 2, field(handler));  // call
  bytes(out, {0x84, 0xC0});                // test al, al
  out.jump_if(HostCondition::kNz, go_on);
  bytes(out, {0x48, 0x83, 0xC4, 0x08});  // add rsp, 8
  bytes(out,
        {0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B});  // pop r15..r12, rbp, rbx
  bytes(out, {0xC3});
}

}  // namespace

BorderCode emit_border(Emitter& out) {
  BorderCode border;
  border.enter = out.position();
  bytes(out,
        {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57});  // push rbx, rbp, r12..r15
  bytes(out, {0x48, 0x83, 0xEC, 0x08});                                 // sub rsp, 8
  out.registers(0, 0x8B, kState, kRdi, true);
  out.store64(field(offsetof(TranslatorContext, host_stack)), kRsp);
  const u8* const go_on = out.here();
  emit_load_guest(out);

  border.stubs.miss = out.position();
  out.load_immediate32(kR10, kMissSite);
  border.stubs.exit = out.position();
  emit_save_guest(out);
  emit_call_handler(out, offsetof(TranslatorContext, exit_handler), go_on);

  border.underflow = out.position();
  out.lea64(kRsp, {.base = kRsp, .disp = -8});  // the word stays
  border.stubs.lookup = out.position();
  out.registers(0, 0x0FB7, kR9, kR8);  // movzx r9d, r8w
  out.jump_to({.base = kJumpTable, .index = kR9, .scale = 3});

  border.landing = out.position();
  emit_save_guest(out);
  emit_call_handler(out, offsetof(TranslatorContext, fault_handler), go_on);
  return border;
}

}  // namespace snowglobe::vm
