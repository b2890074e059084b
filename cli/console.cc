// cli/console.cc - the guest's shell: one `sh` there, which reads lines that are edited here. There
// is no terminal in between: what wants a whole one (vi, top) does not work.
#include "cli/line_editor.h"
#include "cli/shell.h"
#include "cli/terminal.h"
#include <condition_variable>
#include <csignal>
#include <fmt/format.h>
#include <future>
#include <iostream>
#include <mutex>

namespace snowglobe::cli {
namespace {

constexpr char kMark = '\036';  // around what is for us, in both outputs

std::string quoted(const std::string& line) {
  std::string text = "'";
  for (const char c : line)
    text += c == '\'' ? "'\\''" : std::string(1, c);
  return text + "'";
}

/// Output of the shell, with what stands between marks taken out.
class Marked {
 public:
  /// What is for people. Requires the lock of whoever asks for marks().
  std::string take(std::string_view text) {
    std::string plain;
    for (const char c : text) {
      if (c == kMark) {
        if (inside_) {
          last_ = std::exchange(current_, {});
          ++marks_;
        }
        inside_ = !inside_;
      } else {
        (inside_ ? current_ : plain) += c;
      }
    }
    return plain;
  }
  [[nodiscard]] std::size_t marks() const { return marks_; }
  [[nodiscard]] const std::string& last() const { return last_; }

 private:
  bool inside_ = false;
  std::string current_, last_;
  std::size_t marks_ = 0;
};

/// The shell, running; lines go in one by one.
class GuestShell {
 public:
  explicit GuestShell(Database& database) {
    ExecOptions options;
    options.limit = std::chrono::milliseconds(0);
    options.input = input_;
    options.on_out = [this](std::string_view text) { print(out_, text, stdout); };
    options.on_err = [this](std::string_view text) { print(err_, text, stderr); };
    running_ = std::async(std::launch::async, [this, &database, options] {
      const auto over = [this] {
        const std::lock_guard lock(mutex_);
        over_ = true;
        changed_.notify_all();
      };
      try {
        const ExecResult result = database.guest().exec({"sh"}, options);
        over();
        return result.exit_code;
      } catch (...) {
        over();
        throw;
      }
    });
    // Ctrl-C is for what the shell runs; the shell itself goes on.
    input_.write("trap : INT\n");
    run("");
  }

  GuestShell(const GuestShell&) = delete;
  GuestShell& operator=(const GuestShell&) = delete;
  ~GuestShell() {
    input_.close();
    input_.signal(SIGHUP);
    running_.wait();
  }

  /// Runs a line and waits for its end. False once the shell has ended.
  bool run(const std::string& line) {
    // `command` keeps a slip of the pen from ending the shell; what runs must not read our lines.
    input_.write(
        fmt::format("command eval {0} </dev/null\nsg=$?; printf '{1}{1}'; printf "
                    "'{1}%s{1}' \"$PWD\" >&2; (exit $sg)\n",
                    quoted(line), "\\036"));
    std::unique_lock lock(mutex_);
    ++lines_;
    changed_.wait(lock,
                  [this] { return over_ || (out_.marks() >= lines_ && err_.marks() >= lines_); });
    return !over_;
  }
  void interrupt() { input_.signal(SIGINT); }
  [[nodiscard]] std::string folder() {
    const std::lock_guard lock(mutex_);
    return err_.last();
  }
  /// Its exit code, at its end.
  int finish() {
    input_.close();
    return running_.get();
  }

 private:
  void print(Marked& marked, std::string_view text, std::FILE* to) {
    const std::lock_guard lock(mutex_);
    const std::string plain = marked.take(text);
    std::fwrite(plain.data(), 1, plain.size(), to);
    std::fflush(to);
    changed_.notify_all();
  }

  GuestInput input_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Marked out_, err_;
  std::size_t lines_ = 0;
  bool over_ = false;
  std::shared_future<int> running_;
};

int run_typed(Context& context, Database& database) {
  context.say("The guest's shell: every line is a command there. Ctrl-D or exit leaves.");
  GuestShell shell(database);
  LineEditor editor(
      context.interrupts, {},
      [](std::string_view, std::string_view) { return std::vector<std::string>(); }, [] {});
  while (const auto line = editor.next("guest:" + shell.folder() + "# ")) {
    if (line->find_first_not_of(" \t") == std::string::npos) continue;
    editor.remember(*line);
    const auto cancel = context.interrupts.on_cancel([&shell] { shell.interrupt(); });
    if (!shell.run(*line)) break;
    context.interrupts.rearm();
  }
  return shell.finish();
}

}  // namespace

int run_console(Context& context, Database& database) {
  if (stdin_is_terminal()) return run_typed(context, database);
  ExecOptions options;
  options.limit = std::chrono::milliseconds(0);
  return run_in_guest(context, database, {"sh"}, options, true);
}

}  // namespace snowglobe::cli
