// tests/devices/kernel_test.cc - the image's kernel on the machine alone: the same run each time,
// and hardly any work while it sleeps. Needs the guest image.
#include "tests/support/event_loop.h"
#include "tests/support/read_file.h"
#include "vm/machine.h"

#include <cstdlib>
#include <future>
#include <gtest/gtest.h>
#include <string>

namespace snowglobe::vm {
namespace {

std::string image_folder() {
  const char* folder = std::getenv("SNOWGLOBE_IMAGE");
  return folder != nullptr ? folder : SNOWGLOBE_BUILD_TREE_IMAGE;
}

struct Boot {
  std::optional<MachineEnd> end;
  u64 instructions = 0;
  std::string console;
};

/// Boots the kernel without a disk, with time by instructions, until it panics and resets.
Boot boot_to_panic(base::ConstBytes kernel) {
  Boot run;
  base::ManualClock clock;
  base::SeededRandom random(1);
  test::PostLoop loop;
  MachineConfig config;
  config.memory_bytes = 64u << 20;
  config.kernel = kernel;
  config.command_line = "console=ttyS0 tsc=reliable reboot=t panic=-1 root=/dev/none";
  config.clock = &clock;
  config.random = &random;
  config.loop = &loop;
  config.time_by_instructions = true;
  config.serial_output = [&run](base::ConstBytes data) {
    run.console.append(data.begin(), data.end());
  };
  auto machine = Machine::create(config);
  if (!machine) return run;
  std::promise<MachineEnd> ended;
  auto end = ended.get_future();
  if (!machine.value()->start([&ended](MachineEnd how) { ended.set_value(how); })) return run;
  if (end.wait_for(std::chrono::seconds(60)) == std::future_status::ready) run.end = end.get();
  machine.value()->stop();
  run.instructions = machine.value()->statistics().instructions;
  return run;
}

TEST(Kernel, RunsTheSameInstructionsEachTime) {
  const auto kernel = snowglobe::test::read_file(image_folder() + "/vmlinux");
  ASSERT_TRUE(kernel) << "no vmlinux in " << image_folder() << " (./dev guest makes it)";
  const Boot first = boot_to_panic(*kernel);
  EXPECT_EQ(first.end, MachineEnd::kReset);
  EXPECT_NE(first.console.find("Kernel panic"), std::string::npos) << first.console;
  const Boot second = boot_to_panic(*kernel);
  EXPECT_EQ(second.instructions, first.instructions);
  EXPECT_EQ(second.console, first.console);
}

TEST(Kernel, FindsNothingToComplainAboutInItsDevices) {
  const auto kernel = snowglobe::test::read_file(image_folder() + "/vmlinux");
  ASSERT_TRUE(kernel) << "no vmlinux in " << image_folder() << " (./dev guest makes it)";
  const std::string console = boot_to_panic(*kernel).console;
  for (const char* found : {"is a 16550A", "Switched to clocksource tsc", "crng init done"}) {
    EXPECT_NE(console.find(found), std::string::npos) << found << "\n" << console;
  }
  for (const char* trouble : {"spurious", "nobody cared", "can't find IRQ", "unstable"}) {
    EXPECT_EQ(console.find(trouble), std::string::npos) << trouble << "\n" << console;
  }
}

}  // namespace
}  // namespace snowglobe::vm
