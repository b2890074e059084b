// tests/cpu/paging_test.cc - the page walk, page faults, TLBs and accesses that cross pages.
#include "tests/cpu/system_machine.h"

#include <gtest/gtest.h>

namespace snowglobe::vm {
namespace {

using test::expect_exception;
using test::SystemMachine;

constexpr u32 kPage = 0x30000;  // a page for the tests to play with
constexpr u32 kP = 1, kW = 2, kU = 4, kA = 0x20, kD = 0x40, kPs = 0x80;

class Paging : public ::testing::Test {
 protected:
  Paging() { machine.enable_paging(); }

  // mov eax, [address] and mov [address], eax
  std::optional<Exception> load(u32 address) {
    return machine.execute(
        {0xA1, byte(address, 0), byte(address, 1), byte(address, 2), byte(address, 3)});
  }
  std::optional<Exception> store(u32 address) {
    return machine.execute(
        {0xA3, byte(address, 0), byte(address, 1), byte(address, 2), byte(address, 3)});
  }
  static u8 byte(u32 value, unsigned i) { return static_cast<u8>(value >> (8 * i)); }

  SystemMachine machine;
};

void expect_page_fault(const std::optional<Exception>& got, u32 error_code, u32 address) {
  expect_exception(got, Vector::kPageFault, error_code);
  if (got) {
    EXPECT_EQ(got->address, address);
  }
}

TEST_F(Paging, TranslatesThroughBothLevels) {
  machine.set_pte(kPage, 0x31000 | kP | kW);
  machine.put<u32>(0x31234, 0xCAFEBABE);
  EXPECT_FALSE(load(kPage + 0x234));
  EXPECT_EQ(machine.reg(kEax), 0xCAFEBABEu);
}

TEST_F(Paging, SetsAccessedOnAReadAndDirtyOnlyOnAWrite) {
  machine.put<u32>(SystemMachine::kPageDirectory, SystemMachine::kPageTable | kP | kW | kU);
  machine.set_pte(kPage, kPage | kP | kW | kU);
  EXPECT_FALSE(load(kPage));
  EXPECT_EQ(machine.pte(kPage), kPage | kP | kW | kU | kA);
  EXPECT_EQ(machine.read<u32>(SystemMachine::kPageDirectory) & (kA | kD), kA);
  EXPECT_FALSE(store(kPage));
  EXPECT_EQ(machine.pte(kPage), kPage | kP | kW | kU | kA | kD);
}

TEST_F(Paging, LeavesTheTablesAloneWhenTheAccessFaults) {
  machine.set_pte(kPage, kPage | kP);
  machine.enter_user_mode();
  expect_page_fault(load(kPage), kPfPresent | kPfUser, kPage);
  EXPECT_EQ(machine.pte(kPage), kPage | kP);
}

TEST_F(Paging, ReportsEachKindOfFault) {
  machine.set_pte(kPage, 0);
  expect_page_fault(load(kPage + 8), 0, kPage + 8);
  expect_page_fault(store(kPage + 8), kPfWrite, kPage + 8);
  machine.set_pte(kPage, kPage | kP);  // supervisor, read-only
  expect_page_fault(store(kPage), kPfPresent | kPfWrite, kPage);
  machine.enter_user_mode();
  expect_page_fault(load(kPage), kPfPresent | kPfUser, kPage);
  expect_page_fault(store(kPage), kPfPresent | kPfUser | kPfWrite, kPage);
  machine.set_pte(kPage, kPage | kP | kU);  // user, read-only
  EXPECT_FALSE(load(kPage));
  expect_page_fault(store(kPage), kPfPresent | kPfUser | kPfWrite, kPage);
  machine.set_pte(kPage, 0);
  expect_page_fault(load(kPage), kPfUser, kPage);
}

TEST_F(Paging, RightsAreTheLesserOfBothLevels) {
  machine.put<u32>(SystemMachine::kPageDirectory, SystemMachine::kPageTable | kP | kW);
  machine.cpu.flush_tlb();
  EXPECT_FALSE(store(kPage));
  machine.put<u32>(SystemMachine::kPageDirectory, SystemMachine::kPageTable | kP | kU);
  machine.cpu.flush_tlb();
  EXPECT_FALSE(load(kPage));
  expect_page_fault(store(kPage), kPfPresent | kPfWrite, kPage);
}

TEST_F(Paging, SupervisorWritesToReadOnlyPagesUnlessWriteProtectIsSet) {
  machine.set_pte(kPage, kPage | kP | kU);
  machine.cpu.state.cr0 &= ~u32{kCr0Wp};
  machine.cpu.flush_tlb();
  EXPECT_FALSE(store(kPage));
  // mov cr0, eax with WP: the writable translation must be gone.
  machine.reg(kEax) = machine.cpu.state.cr0 | kCr0Wp;
  EXPECT_FALSE(machine.execute({0x0F, 0x22, 0xC0}));
  expect_page_fault(store(kPage), kPfPresent | kPfWrite, kPage);
}

TEST_F(Paging, MapsFourMegabytePages) {
  machine.put<u32>(SystemMachine::kPageDirectory + 4, 0x00400000 | kP | kW | kPs);
  machine.put<u32>(0x00712344, 0x12345678);
  EXPECT_FALSE(load(0x00712344));
  EXPECT_EQ(machine.reg(kEax), 0x12345678u);
  EXPECT_EQ(machine.read<u32>(SystemMachine::kPageDirectory + 4) & (kA | kD), kA);
  EXPECT_FALSE(store(0x00712348));
  EXPECT_EQ(machine.read<u32>(SystemMachine::kPageDirectory + 4) & (kA | kD), kA | kD);
}

TEST_F(Paging, ReservedBitsOfALargePageFault) {
  for (u32 bit = 12; bit <= 21; ++bit) {
    machine.put<u32>(SystemMachine::kPageDirectory + 4, 0x00400000 | kP | kW | kPs | 1u << bit);
    machine.cpu.flush_tlb();
    expect_page_fault(load(0x00400000), kPfPresent | kPfReservedBit, 0x00400000);
  }
}

TEST_F(Paging, LargePageBitMeansNothingWithoutTheExtension) {
  machine.cpu.state.cr4 &= ~u32{kCr4Pse};
  machine.put<u32>(SystemMachine::kPageDirectory + 4, SystemMachine::kPageTable | kP | kW | kPs);
  machine.cpu.flush_tlb();
  machine.put<u32>(0x5678, 77);
  EXPECT_FALSE(load(0x00405678));
  EXPECT_EQ(machine.reg(kEax), 77u);
}

TEST_F(Paging, InvalidationOfOneAddressDropsTheWholeLargePage) {
  machine.put<u32>(SystemMachine::kPageDirectory + 4, 0x00400000 | kP | kW | kPs);
  EXPECT_FALSE(load(0x00401000));
  machine.put<u32>(SystemMachine::kPageDirectory + 4, 0);
  EXPECT_FALSE(machine.execute({0x0F, 0x01, 0x3D, 0x00, 0x90, 0x40, 0x00}));  // invlpg [0x409000]
  expect_page_fault(load(0x00401000), 0, 0x00401000);
}

TEST_F(Paging, InvlpgDropsOnePage) {
  EXPECT_FALSE(load(kPage));
  machine.put<u32>(SystemMachine::pte_address(kPage), 0);
  EXPECT_FALSE(load(kPage)) << "the TLB may remember";
  EXPECT_FALSE(machine.execute({0x0F, 0x01, 0x3D, 0x00, 0x00, 0x03, 0x00}));
  expect_page_fault(load(kPage), 0, kPage);
}

TEST_F(Paging, InvlpgOfACodePageMakesExecutorsTranslateAgain) {
  const u32 code = 0x32000;
  machine.write(code, {0xEB, 0xFE});  // jmp $
  machine.cpu.state.eip = code;
  EXPECT_EQ(machine.run(10), StopReason::kBudget);
  machine.put<u32>(SystemMachine::pte_address(code), 0x33000 | kP);
  machine.write(0x33000, {0xF4});
  const u32 generation = machine.cpu.code_generation();
  machine.cpu.flush_tlb_page(kPage);
  EXPECT_EQ(machine.cpu.code_generation(), generation) << "a page of data concerns nobody";
  machine.cpu.flush_tlb_page(code);
  EXPECT_EQ(machine.run(10), StopReason::kHalted);
}

TEST_F(Paging, LoadingCr3DropsAllPages) {
  EXPECT_FALSE(store(kPage));
  machine.put<u32>(SystemMachine::pte_address(kPage), 0);
  machine.reg(kEax) = SystemMachine::kPageDirectory;
  EXPECT_FALSE(machine.execute({0x0F, 0x22, 0xD8}));  // mov cr3, eax
  expect_page_fault(store(kPage), kPfWrite, kPage);
}

TEST_F(Paging, AnAccessThatCrossesFaultsAtTheFirstBadByte) {
  machine.set_pte(kPage + 0x1000, 0);
  expect_page_fault(load(kPage + 0xFFD), 0, kPage + 0x1000);
  expect_page_fault(load(kPage + 0x1001), 0, kPage + 0x1001);
  machine.set_pte(kPage, 0);
  expect_page_fault(load(kPage + 0xFFD), 0, kPage + 0xFFD);
}

TEST_F(Paging, AStoreThatCrossesWritesNothingIfTheSecondPageFaults) {
  machine.put<u32>(kPage + 0xFFC, 0x11111111);
  machine.set_pte(kPage + 0x1000, (kPage + 0x1000) | kP | kU);
  machine.reg(kEax) = 0x22222222;
  expect_page_fault(store(kPage + 0xFFE), kPfPresent | kPfWrite, kPage + 0x1000);
  EXPECT_EQ(machine.read<u32>(kPage + 0xFFC), 0x11111111u);
}

TEST_F(Paging, AStoreThatCrossesReachesBothFrames) {
  machine.set_pte(kPage, 0x33000 | kP | kW);
  machine.set_pte(kPage + 0x1000, 0x35000 | kP | kW);
  machine.reg(kEax) = 0x44332211;
  EXPECT_FALSE(store(kPage + 0xFFE));
  EXPECT_EQ(machine.read<u16>(0x33FFE), 0x2211u);
  EXPECT_EQ(machine.read<u16>(0x35000), 0x4433u);
  machine.reg(kEax) = 0;
  EXPECT_FALSE(load(kPage + 0xFFE));
  EXPECT_EQ(machine.reg(kEax), 0x44332211u);
}

TEST_F(Paging, NothingAnswersOutsideOfMemory) {
  machine.set_pte(kPage, 0x80000000 | kP | kW);
  EXPECT_FALSE(store(kPage));
  EXPECT_FALSE(load(kPage));
  EXPECT_EQ(machine.reg(kEax), 0xFFFFFFFFu);
}

TEST_F(Paging, TablesOutsideOfMemoryReadAsOnesAndDoNotHurt) {
  machine.put<u32>(SystemMachine::kPageDirectory + 8, 0x90000000 | kP | kW | kU);
  // All ones: present, and bit 7 is reserved.
  expect_page_fault(load(0x00800000), kPfPresent | kPfReservedBit, 0x00800000);
  machine.cpu.state.cr3 = 0xFFFFF000;
  machine.cpu.flush_tlb();
  expect_page_fault(load(0), kPfPresent | kPfReservedBit, SystemMachine::kCode);
}

TEST_F(Paging, UserAndSupervisorTranslationsAreApart) {
  machine.set_pte(kPage, kPage | kP | kW);
  EXPECT_FALSE(load(kPage));
  machine.enter_user_mode();
  expect_page_fault(load(kPage), kPfPresent | kPfUser, kPage);
}

TEST_F(Paging, APageThatIsWatchedForCodeIsWrittenThroughTheOwner) {
  struct Listener final : CpuObserver {
    void on_code_written(u32 page) override { written = page; }
    u32 written = ~0u;
  } listener;
  EXPECT_FALSE(store(kPage));  // fills the TLB with the right to write
  machine.cpu.add_observer(&listener);
  machine.ram().watch_code(kPage >> kPageShift);
  Insn insn;
  machine.cpu.set_code_base(SystemMachine::kCode);
  EXPECT_TRUE(machine.cpu.store<u32>(&insn, kDs, kPage, 5));
  EXPECT_EQ(listener.written, kPage >> kPageShift);
  machine.cpu.remove_observer(&listener);
}

TEST_F(Paging, PeekChangesNothing) {
  machine.set_pte(kPage, 0x31000 | kP);
  EXPECT_EQ(machine.cpu.peek(kPage + 5), std::optional<PhysicalAddress>(0x31005));
  EXPECT_EQ(machine.pte(kPage), 0x31000 | kP);
  machine.set_pte(kPage, 0);
  EXPECT_FALSE(machine.cpu.peek(kPage));
  EXPECT_FALSE(machine.cpu.has_exception());
}

TEST_F(Paging, BlocksAreCopiedAllOrNothing) {
  machine.set_pte(kPage + 0x1000, 0);
  u8 bytes[64];
  std::fill_n(bytes, 64, u8{9});
  machine.put<u32>(kPage + 0xFE0, 0);
  Insn insn;
  machine.cpu.set_code_base(SystemMachine::kCode);
  EXPECT_FALSE(machine.cpu.store_bytes(&insn, kDs, kPage + 0xFE0, bytes));
  EXPECT_EQ(machine.cpu.exception().address, kPage + 0x1000);
  EXPECT_EQ(machine.read<u32>(kPage + 0xFE0), 0u);
  EXPECT_EQ(machine.cpu.state.eip, SystemMachine::kCode);
}

TEST_F(Paging, ProbingForAWriteFaultsLikeTheWrite) {
  machine.set_pte(kPage, kPage | kP | kU);
  Insn insn;
  EXPECT_TRUE(machine.cpu.probe(&insn, kDs, kPage, 4, false));
  EXPECT_FALSE(machine.cpu.probe(&insn, kDs, kPage, 4, true));
  expect_page_fault(machine.cpu.exception(), kPfPresent | kPfWrite, kPage);
}

}  // namespace
}  // namespace snowglobe::vm
