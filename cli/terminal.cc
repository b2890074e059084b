// cli/terminal.cc - what people see: colours, sizes, ages, questions.
#include "cli/terminal.h"

#include <snowglobe/error.hpp>

#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fmt/format.h>
#include <iostream>
#include <sys/ioctl.h>
#include <unistd.h>

namespace snowglobe::cli {
namespace {

std::tm utc(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return parts;
}

struct Range {
  char32_t first, last;
};

// Unicode's East Asian Width W and F, and emoji, in blocks; single exceptions do not matter here.
constexpr Range kWide[] = {
    {0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},  {0xA960, 0xA97F}, {0xAC00, 0xD7A3},
    {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},  {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F},
    {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};
// Combining marks, joiners, variation selectors.
constexpr Range kNoWidth[] = {{0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD},
                              {0x0610, 0x061A}, {0x064B, 0x065F}, {0x200B, 0x200F},
                              {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}};

template <std::size_t kSize>
bool within(const Range (&ranges)[kSize], char32_t c) {
  for (const Range& range : ranges)
    if (c >= range.first && c <= range.last) return true;
  return false;
}

}  // namespace

bool stdin_is_terminal() {
  return isatty(STDIN_FILENO) != 0;
}
bool stdout_is_terminal() {
  return isatty(STDOUT_FILENO) != 0;
}
bool stderr_is_terminal() {
  return isatty(STDERR_FILENO) != 0;
}

std::string styled(Style style, std::string_view text) {
  const char* no_color = std::getenv("NO_COLOR");  // no-color.org: set and not empty
  if (!stdout_is_terminal() || (no_color != nullptr && *no_color != 0)) return std::string(text);
  constexpr std::array<int, 5> kCodes = {1, 2, 31, 32, 33};
  return fmt::format("\033[{}m{}\033[0m", kCodes[static_cast<std::size_t>(style)], text);
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 || value >= 99.95 ? fmt::format("{:.0f} {}", value, kUnits[unit])
                                     : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string human_age(std::chrono::system_clock::time_point then,
                      std::chrono::system_clock::time_point now) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - then).count();
  if (seconds < 2) return "just now";
  if (seconds < 90) return fmt::format("{} s ago", seconds);
  if (seconds < 90 * 60) return fmt::format("{} min ago", (seconds + 30) / 60);
  if (seconds < 36 * 3600) return fmt::format("{} h ago", (seconds + 1800) / 3600);
  if (seconds < 31LL * 86400) return fmt::format("{} days ago", (seconds + 43200) / 86400);
  return iso_time(then).substr(0, 10);
}

std::string human_duration(std::chrono::nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  if (seconds < 0.01) return fmt::format("{:.2f} ms", seconds * 1e3);
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 90) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<long long>(seconds);
  return fmt::format("{} min {} s", whole / 60, whole % 60);
}

std::string iso_time(std::chrono::system_clock::time_point time) {
  const std::tm parts = utc(time);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::chrono::nanoseconds parse_duration(std::string_view text) {
  double count = 0;
  const auto [rest, failure] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  const double seconds = unit.empty() || unit == "s" ? 1
                         : unit == "m"               ? 60
                         : unit == "h"               ? 3600
                         : unit == "d"               ? 86400
                         : unit == "w"               ? 7 * 86400
                                                     : 0;
  constexpr double kCentury = 100 * 365.25 * 86400;
  if (failure != std::errc() || seconds == 0 || !(count >= 0) || count * seconds > kCentury) {
    throw InvalidArgument(
        fmt::format("\"{}\" is no span of time: say it as 30s, 10m, 2h, 7d or 4w", text));
  }
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(count * seconds));
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    char32_t c = lead;
    if (lead >= 0xC0) c = lead & (lead >= 0xF0 ? 0x07 : lead >= 0xE0 ? 0x0F : 0x1F);
    while (i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80)
      c = c << 6 | (static_cast<unsigned char>(text[i++]) & 0x3F);
    if (!within(kNoWidth, c)) width += within(kWide, c) ? 2 : 1;
  }
  return width;
}

std::size_t terminal_columns() {
  winsize size{};
  if (!stdout_is_terminal() || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

bool ask(std::string_view question) {
  if (!stdin_is_terminal() || !stderr_is_terminal()) return false;
  std::fprintf(stderr, "%s [y/N] ", std::string(question).c_str());
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace snowglobe::cli
