// snowglobe/guest.hpp - the machine below PostgreSQL: run programs in it, put and get files.
#pragma once

#include <snowglobe/export.hpp>
#include <snowglobe/parameter.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe {
inline namespace v1 {
namespace detail {
class Server;
struct GuestInputState;
}  // namespace detail

/// Of a terminal, in characters, each at most 65535.
struct TerminalSize {
  unsigned rows = 24;
  unsigned columns = 80;
};

/// What goes to a program while Guest::exec() runs it: bytes for its standard input, and signals.
/// Copies are the same input; it is for one run. Thread rule: any thread.
///
///   GuestInput input;
///   std::jthread feeder([&] { input.write("one\n"); input.close(); });
///   guest.exec({"sort"}, {.input = input});
class SNOWGLOBE_API GuestInput {
 public:
  GuestInput();
  /// Waits while the program has a mebibyte or more still to read. False: it reads no more.
  bool write(std::string_view bytes);
  /// Its input ends, once it has read what was written. At a terminal: types ^D.
  void close();
  /// To its process group; a number of Linux's, e.g. SIGINT.
  void signal(int number);
  /// Its terminal has another size (ExecOptions::terminal); it gets SIGWINCH.
  void resize(TerminalSize size);

  // For the library's other parts.
  [[nodiscard]] const std::shared_ptr<detail::GuestInputState>& state() const noexcept {
    return state_;
  }

 private:
  std::shared_ptr<detail::GuestInputState> state_;
};

struct ExecOptions {
  std::chrono::milliseconds limit = std::chrono::seconds(60);  ///< then it is killed: TimeoutError
  unsigned uid = 0;
  unsigned gid = 0;
  std::string directory = "/";
  std::vector<std::string> environment = {};  ///< "NAME=value"; empty: the guest's own
  std::optional<GuestInput> input = {};       ///< none: its standard input is empty
  /// With a terminal of its own, which is its standard input, output and error: for programs that
  /// draw on the screen, and for shells. Whatever it writes is ExecResult::out. Keys go to `input`
  /// as they are typed; "\x03" is SIGINT. TERM is vt100 unless `environment` says something else.
  std::optional<TerminalSize> terminal = {};
  /// What the program writes, as it comes, on the thread that called exec(); ExecResult has nothing
  /// of it then. What they throw comes out of exec(), and the program is killed.
  std::function<void(std::string_view)> on_out = {}, on_err = {};
};

struct ExecResult {
  std::string out;
  std::string err;
  int exit_code = 0;  ///< 128 + N when signal N ended it
};

/// Thread rule: any thread. Errors: InvalidArgument (no such program or file), TimeoutError,
/// GuestCrashed, Error.
class SNOWGLOBE_API Guest {
 public:
  explicit Guest(std::shared_ptr<detail::Server> server) noexcept;

  /// Runs a program (a path, or a name that is looked up in PATH) and waits for its end.
  ExecResult exec(const std::vector<std::string>& arguments, const ExecOptions& options = {});
  /// Writes a file of the guest; a reader there sees the old or the new one.
  void put(std::string_view path, BytesView contents, unsigned mode = 0644);
  void put(std::string_view path, std::string_view contents, unsigned mode = 0644);
  /// Reads a file of the guest.
  [[nodiscard]] std::string get(std::string_view path);
  /// The last lines of the guest's console, oldest first.
  [[nodiscard]] std::vector<std::string> console() const;

 private:
  std::shared_ptr<detail::Server> server_;
};

}  // namespace v1
}  // namespace snowglobe
