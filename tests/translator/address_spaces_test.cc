// tests/translator/address_spaces_test.cc - what windows hold, against what the page tables say: as
// a TLB may, never longer.
#include "vm/cpu/translator/address_spaces.h"

#include "tests/cpu/system_machine.h"

#include <gtest/gtest.h>

namespace snowglobe::vm {
namespace {

using test::SystemMachine;
using Outcome = AddressSpaces::Outcome;

constexpr u32 kPage = 0x30000;  // pages for the tests to play with
constexpr u32 kOther = 0x31000;
constexpr u32 kP = 1, kW = 2, kU = 4, kA = 0x20, kD = 0x40;

class AddressSpacesTest : public ::testing::Test {
 protected:
  AddressSpacesTest() {
    machine.enable_paging();
    auto made = AddressSpaces::create(machine.cpu);
    EXPECT_TRUE(made);
    spaces = std::move(made).value();
    spaces->revalidate(spaces->kernel());
  }
  [[nodiscard]] static Window::Run run(const AddressSpace& space, u32 linear) {
    return space.window->find(linear >> kPageShift);
  }
  /// All of the first 4 MiB absent but for some pages.
  void clear_table() {
    for (u32 page = 0; page < 1024; ++page)
      machine.put<u32>(SystemMachine::kPageTable + page * 4, 0);
  }

  SystemMachine machine;
  std::unique_ptr<AddressSpaces> spaces;
};

TEST_F(AddressSpacesTest, ARunHoldsNeighboursThatNeedNoMark) {
  clear_table();
  const u32 entry = kP | kU | kA;
  machine.set_pte(kPage - 0x1000, (kPage - 0x1000) | kP | kU);  // not accessed yet
  machine.set_pte(kPage, kPage | entry);
  machine.set_pte(kOther, kOther | entry);
  machine.set_pte(kOther + 0x1000, 0x77000 | entry);  // somewhere else
  AddressSpace& user = *spaces->user();
  ASSERT_EQ(spaces->fill(user, kPage + 5, false, true), Outcome::kMapped);
  EXPECT_EQ(run(user, kPage).linear, kPage >> kPageShift);
  EXPECT_EQ(run(user, kPage).count, 2u);
  EXPECT_FALSE(run(user, kPage).writable);
  EXPECT_EQ(machine.pte(kPage - 0x1000) & kA, 0u);
}

TEST_F(AddressSpacesTest, APageThatIsNotDirtyIsReadOnlyUntilItIsWritten) {
  clear_table();
  machine.set_pte(kPage, kPage | kP | kW | kU);
  AddressSpace& user = *spaces->user();
  ASSERT_EQ(spaces->fill(user, kPage, false, true), Outcome::kMapped);
  EXPECT_FALSE(run(user, kPage).writable);
  ASSERT_EQ(spaces->fill(user, kPage, true, true), Outcome::kMapped);
  EXPECT_TRUE(run(user, kPage).writable);
  EXPECT_EQ(machine.pte(kPage) & kD, kD);
}

TEST_F(AddressSpacesTest, AViewHoldsOnlyPagesOfItsOwn) {
  clear_table();
  machine.set_pte(kPage, kPage | kP | kW | kU);
  machine.set_pte(kOther, kOther | kP | kW);
  EXPECT_EQ(spaces->fill(spaces->kernel(), kPage, false, false), Outcome::kElsewhere);
  EXPECT_EQ(spaces->fill(*spaces->user(), kOther, false, true), Outcome::kException);
  machine.cpu.clear_exception();
  EXPECT_EQ(run(spaces->kernel(), kPage).count, 0u);
  EXPECT_EQ(run(*spaces->user(), kOther).count, 0u);
}

TEST_F(AddressSpacesTest, OnlyWhatChangedIsDropped) {
  clear_table();
  machine.set_pte(kPage, kPage | kP | kU | kA);
  machine.set_pte(kOther, 0x55000 | kP | kU | kA);
  AddressSpace& user = *spaces->user();
  ASSERT_EQ(spaces->fill(user, kPage, false, true), Outcome::kMapped);
  ASSERT_EQ(spaces->fill(user, kOther, false, true), Outcome::kMapped);
  machine.put<u32>(SystemMachine::pte_address(kOther), 0x56000 | kP | kU | kA);
  EXPECT_NE(run(user, kOther).count, 0u);  // stale until a flush, as a TLB would be
  spaces->revalidate(user);
  EXPECT_EQ(run(user, kOther).count, 0u);
  EXPECT_EQ(run(user, kPage).count, 1u);
}

TEST_F(AddressSpacesTest, RightsOfTheDirectoryCountAlsoWhenAPageWasMappedBetween) {
  clear_table();
  machine.set_pte(kPage, kPage | kP | kW | kU | kA | kD);
  machine.set_pte(0x50000, 0x50000 | kP | kW | kU | kA | kD);
  AddressSpace& user = *spaces->user();
  ASSERT_EQ(spaces->fill(user, kPage, true, true), Outcome::kMapped);
  // The right to write goes from the directory's entry; another page is mapped ahead of the flush.
  machine.put<u32>(SystemMachine::kPageDirectory, SystemMachine::kPageTable | kP | kU | kA);
  ASSERT_EQ(spaces->fill(user, 0x50000, false, true), Outcome::kMapped);
  spaces->revalidate(user);
  EXPECT_FALSE(run(user, kPage).writable);
}

TEST_F(AddressSpacesTest, WriteProtectionForTheSupervisorTakesRightsAway) {
  clear_table();
  machine.set_pte(kPage, kPage | kP | kA | kD);
  machine.cpu.state.cr0 &= ~u32{kCr0Wp};
  spaces->revalidate(spaces->kernel());
  ASSERT_EQ(spaces->fill(spaces->kernel(), kPage, true, false), Outcome::kMapped);
  EXPECT_TRUE(run(spaces->kernel(), kPage).writable);
  machine.cpu.state.cr0 |= kCr0Wp;
  spaces->revalidate(spaces->kernel());
  EXPECT_FALSE(run(spaces->kernel(), kPage).writable);
}

TEST_F(AddressSpacesTest, CodeThatIsUnmappedIsReported) {
  machine.set_pte(kPage, kPage | kP | kU | kA);
  AddressSpace& user = *spaces->user();
  u32 dropped = 0;
  spaces->set_code_listener([&dropped](AddressSpace&, u32 page) { dropped = page; });
  spaces->note_code(user, kPage >> kPageShift, kPage >> kPageShift);
  spaces->flush_page(user, kPage);
  EXPECT_EQ(dropped, kPage >> kPageShift);
  EXPECT_EQ(user.code->entries()[kPage >> kPageShift], 0u);
}

// One process with more runs than there are mappings: every other page is somewhere else.
TEST_F(AddressSpacesTest, AWindowThatNeedsMoreMappingsThanThereAreBeginsAnew) {
  MappingBudget small(120);
  auto made = AddressSpaces::create(machine.cpu, small);
  ASSERT_TRUE(made);
  AddressSpaces& few = *made.value();
  for (u32 page = 0; page < 256; ++page) {
    const u32 frame = (page * 7 % 256) << kPageShift;
    machine.put<u32>(SystemMachine::kPageTable + page * 4, frame | kP | kU | kA);
  }
  AddressSpace& user = *few.user();
  for (u32 round = 0; round < 2; ++round) {
    for (u32 page = 0; page < 256; ++page) {
      ASSERT_EQ(few.fill(user, page << kPageShift, false, true), Outcome::kMapped) << page;
      ASSERT_NE(run(user, page << kPageShift).count, 0u) << page;
    }
  }
  EXPECT_GT(few.statistics().evictions, 0u);
  EXPECT_LE(small.used(), small.limit());
}

TEST_F(AddressSpacesTest, AMachineThatComesLaterGetsItsShareAndTheFirstGivesBack) {
  MappingBudget small(400);
  auto greedy = AddressSpaces::create(machine.cpu, small);
  ASSERT_TRUE(greedy);
  for (u32 page = 0; page < 256; ++page) {
    const u32 frame = (page * 7 % 256) << kPageShift;
    machine.put<u32>(SystemMachine::kPageTable + page * 4, frame | kP | kU | kA);
  }
  AddressSpace* user = greedy.value()->user();
  for (u32 page = 0; page < 256; ++page)
    ASSERT_EQ(greedy.value()->fill(*user, page << kPageShift, false, true), Outcome::kMapped);
  ASSERT_GT(small.used(), 250u);
  auto late = AddressSpaces::create(machine.cpu, small);
  ASSERT_TRUE(late);
  AddressSpace& its = *late.value()->user();
  for (u32 page = 0; page < 180; ++page)
    ASSERT_EQ(late.value()->fill(its, page << kPageShift, false, true), Outcome::kMapped);
  EXPECT_EQ(late.value()->statistics().evictions, 0u);
  EXPECT_GT(small.used(), small.limit());
  machine.cpu.state.cr3 = 0x90000;  // the first goes on with another process
  ASSERT_NE(greedy.value()->user(), nullptr);
  EXPECT_EQ(greedy.value()->statistics().evictions, 1u);
  EXPECT_LE(small.used(), small.limit());
}

TEST_F(AddressSpacesTest, WhatRunsIsNeverEvicted) {
  AddressSpace& first = *spaces->user();
  spaces->enter(first);
  ASSERT_EQ(spaces->fill(first, kPage, false, true), Outcome::kMapped);
  machine.cpu.state.cr3 = 0x90000;  // another directory, empty
  ASSERT_NE(spaces->user(), nullptr);
  spaces->evict_others();
  ASSERT_EQ(spaces->statistics().evictions, 0u);
  EXPECT_NE(run(first, kPage).count, 0u);
}

}  // namespace
}  // namespace snowglobe::vm
