// tests/guest/terminal_test.cc - programs of the guest that have a terminal: a shell, an editor,
// top.
#include "tests/guest/machine_fixture.h"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;

class TerminalTest : public testing::MachineTest {
 protected:
  /// Runs a program at a terminal on a thread of its own.
  class Screen {
   public:
    Screen(std::vector<std::string> program, TerminalSize size)
        : runs_([this, program = std::move(program), size] { run(program, size); }) {}
    ~Screen() {
      keys.signal(9);
      if (runs_.joinable()) runs_.join();
    }
    Screen(const Screen&) = delete;
    Screen& operator=(const Screen&) = delete;

    /// What it showed up to `wanted`, once that is there; forgets it.
    std::string wait_for(const std::string& wanted) {
      std::unique_lock lock(mutex_);
      const bool came = changed_.wait_for(
          lock, 60s, [&] { return shown_.find(wanted) != std::string::npos || over_; });
      EXPECT_TRUE(came && shown_.find(wanted) != std::string::npos) << wanted << " in " << shown_;
      std::string seen =
          shown_.substr(0, came ? shown_.find(wanted) + wanted.size() : shown_.size());
      shown_.erase(0, seen.size());
      return seen;
    }
    int end() {
      runs_.join();
      return code_;
    }

    GuestInput keys;

   private:
    void run(const std::vector<std::string>& program, TerminalSize size) {
      ExecOptions options;
      options.input = keys;
      options.terminal = size;
      options.on_out = [this](std::string_view text) {
        const std::lock_guard lock(mutex_);
        shown_ += text;
        changed_.notify_all();
      };
      try {
        code_ = db().guest().exec(program, options).exit_code;
      } catch (const Error& error) {
        ADD_FAILURE() << error.what();
      }
      const std::lock_guard lock(mutex_);
      over_ = true;
      changed_.notify_all();
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::string shown_;
    bool over_ = false;
    int code_ = -1;
    std::thread runs_;
  };
};

TEST_F(TerminalTest, ItHasTheSizeThatWasAskedForAndAllItWroteComes) {
  ExecOptions options;
  options.terminal = {.rows = 33, .columns = 111};
  const ExecResult ended = db().guest().exec(
      {"sh", "-c", "tty; stty size; cat; seq 1 5000; echo wrong >&2; exit 7"}, options);
  EXPECT_EQ(ended.exit_code, 7);
  EXPECT_EQ(ended.err, "");
  EXPECT_EQ(ended.out.find("/dev/pts/"), 0U) << ended.out.substr(0, 100);
  EXPECT_NE(ended.out.find("33 111\r\n1\r\n2\r\n"), std::string::npos) << ended.out.substr(0, 100);
  EXPECT_EQ(ended.out.substr(ended.out.size() - 13), "5000\r\nwrong\r\n");
}

TEST_F(TerminalTest, AShellAtItHasJobControl) {
  // Keys that are typed before a program has set the terminal up are the shell's, or nobody's.
  const auto wait_for_state = [](const std::string& state) {
    const std::string look = "grep -q 'State:.*" + state + "' /proc/$(pidof sleep)/status";
    for (int i = 0; i < 600 && db().guest().exec({"sh", "-c", look}).exit_code != 0; ++i)
      std::this_thread::sleep_for(100ms);
  };
  Screen shell({"sh"}, {.rows = 24, .columns = 80});
  shell.wait_for("# ");
  shell.keys.write("sleep 100\n");
  wait_for_state("sleeping");
  shell.keys.write("\x1A");  // ^Z
  wait_for_state("stopped");
  shell.wait_for("# ");
  shell.keys.write("jobs\n");
  shell.wait_for("Stopped");
  shell.keys.write("fg\n");
  wait_for_state("sleeping");
  shell.keys.write("\x03");  // ^C
  shell.wait_for("^C");
  shell.wait_for("# ");
  shell.keys.write("echo status $?\n");
  shell.wait_for("status 130\r\n");
  shell.keys.resize({.rows = 50, .columns = 132});
  shell.keys.write("stty size\n");
  shell.wait_for("50 132\r\n");
  shell.keys.write("exit 3\n");
  EXPECT_EQ(shell.end(), 3);
}

TEST_F(TerminalTest, AnEditorDrawsAndWrites) {
  Screen editor({"vi", "/tmp/poem"}, {.rows = 12, .columns = 60});
  editor.wait_for("/tmp/poem");
  editor.keys.write("isnow in a globe");
  editor.wait_for("globe");
  editor.keys.write("\x1B");  // alone: with what follows at once it would be another key
  editor.wait_for("Modified");
  editor.keys.write(":wq\r");
  EXPECT_EQ(editor.end(), 0);
  EXPECT_EQ(db().guest().get("/tmp/poem"), "snow in a globe\n");
}

TEST_F(TerminalTest, TopAndPsqlAreAtHome) {
  Screen top({"top"}, {.rows = 20, .columns = 80});
  top.wait_for("Mem:");
  top.wait_for("postgres");
  top.keys.write("q");
  EXPECT_EQ(top.end(), 0);
  Screen psql({"psql", "-h", "/tmp"}, {.rows = 24, .columns = 80});
  psql.wait_for("postgres=# ");
  psql.keys.write("select 6 * 7 as answer;\n");
  psql.wait_for("42");
  psql.keys.close();  // ^D
  EXPECT_EQ(psql.end(), 0);
}

TEST_F(TerminalTest, WhoseTimeIsOverIsKilled) {
  ExecOptions options;
  options.terminal = TerminalSize{};
  options.input = GuestInput();
  options.limit = 500ms;
  EXPECT_THROW((void)db().guest().exec({"sh"}, options), TimeoutError);
}

}  // namespace
}  // namespace snowglobe
