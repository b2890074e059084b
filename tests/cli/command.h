// tests/cli/command.h - runs the built `snowglobe` as a user would: with pipes, or on a terminal.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <sys/types.h>
#include <vector>

namespace snowglobe::testing {

struct Ran {
  int code = -1;  ///< 128 + N when signal N ended it
  std::string out, err;
};

struct RunOptions {
  std::string input = {};
  std::vector<std::string> environment = {};  ///< "NAME=value", beside what all of them get
  std::filesystem::path directory = {};
  unsigned long file_size_limit = 0;  ///< bytes that a file may have; 0: no limit
};

/// A folder that is gone with the object.
class Folder {
 public:
  Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Runs `snowglobe` to its end, at most a minute. SNOWGLOBE_HOME is a folder of this process's own.
Ran snowglobe(const std::vector<std::string>& arguments, const RunOptions& options = {});
/// Any program; the first argument names it.
Ran run_program(const std::vector<std::string>& arguments, const RunOptions& options = {});
/// SNOWGLOBE_HOME of all of them.
std::filesystem::path home();

/// `snowglobe` in the background, with its stdout and stderr in one pipe or on a terminal.
class Started {
 public:
  enum class On { pipe, terminal };
  Started(On on, const std::vector<std::string>& arguments,
          const std::vector<std::string>& environment = {});
  Started(const Started&) = delete;
  Started& operator=(const Started&) = delete;
  ~Started();

  /// Reads until `text` has come (since the last wait) and returns what came; fails the test after
  /// twenty seconds.
  std::string wait_for(const std::string& text);
  void type(const std::string& text);
  void signal(int number);
  /// Its terminal's window is closed.
  void hang_up();
  /// The size of its terminal, which is 40 rows of 200 at first.
  void resize(unsigned short rows, unsigned short columns);
  [[nodiscard]] pid_t pid() const { return child_; }
  /// The exit code, waiting for it as long.
  int wait();

 private:
  bool read_more(std::chrono::steady_clock::time_point deadline);

  pid_t child_ = -1;
  int descriptor_ = -1;
  std::string unread_;
};

}  // namespace snowglobe::testing
