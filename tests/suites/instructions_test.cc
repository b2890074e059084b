// tests/suites/instructions_test.cc - QEMU's and valgrind's instruction checks for i386: the same
// static programs run in the guest and on this host's processor must print the same.
#include "tests/suites/child.h"
#include "tests/support/temporary_folder.h"
#include <snowglobe/snowglobe.hpp>

#include <cstdlib>
#include <gtest/gtest.h>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

namespace snowglobe::testing {
namespace {

namespace fs = std::filesystem;

/// Programs whose result on the host is not the one that a 32-bit machine gives; they are held to
/// the suite's own expectation.
const std::map<std::string, std::string> kNotAsOnThisHost = {
    {"valgrind-smc1", "writes its code into data, which a host with NX refuses to execute"},
};

/// Programs that use an instruction which the guest's CPUID does not grant, and end by it.
const std::map<std::string, std::string> kNotGranted = {
    {"test-i386-fp-exceptions", "FISTTP came with SSE3"},
};
constexpr int kIllegalInstruction = 128 + 4;  // SIGILL

/// Lines whose value the manual leaves undefined, and processors differ in.
bool is_undefined(const std::string& program, const std::string& line) {
  // Intel SDM Vol. 2B, SHLD, SHRD: a count above the size of the operand. AMD's insert the register
  // a second time, Intel's (and ours) come around to the destination.
  static const std::regex kDoubleShift("sh[lr]dw .* C=([0-9a-f]{8}) .*");
  std::smatch match;
  return program == "test-i386" && std::regex_match(line, match, kDoubleShift) &&
         (std::stoul(match[1], nullptr, 16) & 31) > 16;
}

std::string without_undefined(const std::string& program, const std::string& text) {
  std::istringstream lines(text);
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    if (!is_undefined(program, line)) kept += line + '\n';
  }
  return kept;
}

/// Prints 66 MB from the innermost loop of one instruction: minutes of an interpreter's time.
constexpr std::string_view kLongest = "test-i386-fprem";

fs::path instructions_folder() {
  const char* image = std::getenv("SNOWGLOBE_IMAGE");  // NOLINT(concurrency-mt-unsafe): tests
  return fs::path(image != nullptr ? image : SNOWGLOBE_BUILD_TREE_IMAGE) / "instructions";
}

struct Outcome {
  std::string out;
  std::string err;
  int status = 0;
};

class InstructionsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(folder_ / "tests.json")) {
      GTEST_SKIP() << "no instruction tests: make them with ./dev guest --testing";
    }
    tests_ = nlohmann::json::parse(read_file(folder_ / "tests.json"));
    database_ = std::make_unique<Database>(Database::open_in_memory());
    database_->guest().exec({"mkdir", work_.string()});
  }

  Outcome on_host(const fs::path& program) const {
    ChildOptions options;
    options.output = work_ / "out";
    options.errors = work_ / "err";
    options.directory = work_;
    Outcome outcome;
    // Under the same name as in the guest: some print it.
    fs::copy_file(program, work_ / "program", fs::copy_options::overwrite_existing);
    outcome.status = run_child({(work_ / "program").string()}, options);
    outcome.out = read_file(options.output);
    outcome.err = read_file(options.errors);
    return outcome;
  }

  Outcome in_guest(const fs::path& program) {
    Guest guest = database_->guest();
    const std::string path = (work_ / "program").string();
    guest.put(path, read_file(program), 0755);
    ExecOptions options;
    options.directory = work_.string();
    options.limit = std::chrono::minutes(2);
    try {
      const ExecResult result = guest.exec({path}, options);
      return {result.out, result.err, result.exit_code};
    } catch (const TimeoutError& error) {
      return {"", error.what(), -1};
    }
  }

  /// What the program must give: this host's own, with one rule for exceptions.
  Outcome expected(const nlohmann::json& test) const {
    if (!kNotAsOnThisHost.contains(test.at("name"))) {
      return on_host(folder_ / test.at("program").get<std::string>());
    }
    return {read_file(folder_ / test.at("expected").get<std::string>()), "", test.at("status")};
  }

  fs::path folder_ = instructions_folder();
  // In /tmp, which the guest has too, under the same name.
  const test::TemporaryFolder temporary_{"/tmp"};
  const fs::path work_ = temporary_.path();
  nlohmann::json tests_;
  std::unique_ptr<Database> database_;
};

/// The first line in which two outputs differ.
std::string first_difference(const std::string& guest, const std::string& host) {
  std::istringstream guest_lines(guest);
  std::istringstream host_lines(host);
  for (int number = 1;; ++number) {
    std::string in_guest;
    std::string on_host;
    const bool more_guest = static_cast<bool>(std::getline(guest_lines, in_guest));
    const bool more_host = static_cast<bool>(std::getline(host_lines, on_host));
    if (!more_guest && !more_host) return "none";
    if (in_guest != on_host || more_guest != more_host) {
      return "line " + std::to_string(number) + "\n  guest: " + in_guest + "\n  host:  " + on_host;
    }
  }
}

std::size_t checks_in(const std::string& output) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = output.find("... ok\n", at)) != std::string::npos; ++at)
    ++count;
  return count;
}

TEST_F(InstructionsTest, ProgramsPrintInTheGuestWhatTheyPrintOnThisProcessor) {
  std::size_t checks = 0;
  std::size_t programs = 0;
  for (const nlohmann::json& test : tests_) {
    const std::string name = test.at("name");
    if (name == kLongest) continue;
    const Outcome guest = in_guest(folder_ / test.at("program").get<std::string>());
    if (kNotGranted.contains(name)) {
      EXPECT_EQ(guest.status, kIllegalInstruction) << name;
      continue;
    }
    const Outcome host = expected(test);
    const std::string out = without_undefined(name, guest.out);
    const std::string wanted = without_undefined(name, host.out);
    EXPECT_TRUE(out == wanted) << name << ": " << first_difference(out, wanted);
    EXPECT_TRUE(guest.err == host.err) << name << ": " << first_difference(guest.err, host.err);
    EXPECT_EQ(guest.status, host.status) << name;
    checks += checks_in(guest.out);
    ++programs;
  }
  std::cout << programs << " programs, " << checks << " checks of valgrind's tables\n";
  EXPECT_GE(checks, 2500u);
}

TEST_F(InstructionsTest, RemaindersPrintInTheGuestWhatTheyPrintOnThisProcessor) {
  const fs::path program = folder_ / "bin" / kLongest;
  const std::string path = (work_ / "program").string();
  Guest guest = database_->guest();
  guest.put(path, read_file(program), 0755);
  ExecOptions options;
  options.limit = std::chrono::minutes(30);
  const ExecResult in_guest = guest.exec({"sh", "-c", path + " | sha256sum"}, options);
  ChildOptions child;
  child.output = work_ / "sum";
  ASSERT_EQ(run_child({"sh", "-c", program.string() + " | sha256sum"}, child), 0);
  EXPECT_EQ(in_guest.out, read_file(child.output));
  EXPECT_EQ(in_guest.out.size(), 68u) << in_guest.err;
}

}  // namespace
}  // namespace snowglobe::testing
