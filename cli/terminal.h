// cli/terminal.h - what people see: colours, sizes, ages, progress, questions.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace snowglobe::cli {

[[nodiscard]] bool stdin_is_terminal();
[[nodiscard]] bool stdout_is_terminal();
[[nodiscard]] bool stderr_is_terminal();

enum class Style : std::uint8_t { bold, dim, red, green, yellow };
/// `text` in a style if stdout is a terminal and NO_COLOR is not set; else as it is.
[[nodiscard]] std::string styled(Style style, std::string_view text);

/// "13.5 MB": decimal units, as disks and downloads are counted.
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
/// "3 min ago"; "2026-11-23" from a month on.
[[nodiscard]] std::string human_age(std::chrono::system_clock::time_point then,
                                    std::chrono::system_clock::time_point now);
/// "80 ms", "1.4 s", "2 min 5 s".
[[nodiscard]] std::string human_duration(std::chrono::nanoseconds duration);
/// "2026-11-23T06:30:00Z"
[[nodiscard]] std::string iso_time(std::chrono::system_clock::time_point time);
/// "30", "30s", "10m", "2h", "7d", "4w". Throws InvalidArgument.
[[nodiscard]] std::chrono::nanoseconds parse_duration(std::string_view text);

/// Columns that a terminal gives to UTF-8 text: wide characters take two, combining ones none.
[[nodiscard]] std::size_t display_width(std::string_view text);
/// Columns of the terminal on stdout, or 0 if it is none.
[[nodiscard]] std::size_t terminal_columns();

/// A line about something that takes long: on a terminal drawn after a moment, again and again, and
/// wiped out at the end; elsewhere printed once a phase, and only when the work has taken two
/// seconds. Thread rule: any thread.
class Progress {
 public:
  explicit Progress(bool quiet);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  /// `done` of `total`; 0 of 0 if nobody knows.
  void phase(std::string_view text, std::uint64_t done = 0, std::uint64_t total = 0);
  void end();

 private:
  class Painter;
  std::unique_ptr<Painter> painter_;
};

/// Asks on the terminal; false without one.
[[nodiscard]] bool ask(std::string_view question);

}  // namespace snowglobe::cli
