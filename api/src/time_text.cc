// api/src/time_text.cc - dates, times and intervals as text, both ways, in the forms that our
// connections ask for: DateStyle ISO, IntervalStyle postgres (PostgreSQL's documentation, 8.5.2 and
// 8.5.5).
#include <snowglobe/convert.hpp>
#include <snowglobe/types.hpp>

#include <cstdio>
#include <cstdlib>

namespace snowglobe::detail {
namespace {

using std::chrono::day;
using std::chrono::month;
using std::chrono::sys_days;
using std::chrono::year;

constexpr std::int64_t kSecond = 1'000'000;
constexpr std::int64_t kHour = 3600 * kSecond;
constexpr std::int64_t kDay = 24 * kHour;
// The calendar repeats: 400 years have as many days. std::chrono::year has 16 bits, PostgreSQL's
// years more.
constexpr std::int64_t kEraYears = 400;
constexpr std::int64_t kEraDays = 146'097;

std::int64_t floor_divide(std::int64_t value, std::int64_t by) {
  return value / by - (value % by < 0 ? 1 : 0);
}

struct CivilDate {
  std::int64_t year;  // astronomical: 0 is 1 BC
  unsigned month;
  unsigned day;
};

CivilDate civil(std::int64_t days) {
  const std::int64_t era = floor_divide(days, kEraDays);
  const std::chrono::year_month_day date{sys_days(std::chrono::days(days - era * kEraDays))};
  return {static_cast<int>(date.year()) + era * kEraYears, static_cast<unsigned>(date.month()),
          static_cast<unsigned>(date.day())};
}

/// Nothing if there is no such day.
std::optional<std::int64_t> days_of(const CivilDate& date) {
  const std::int64_t era = floor_divide(date.year, kEraYears);
  const std::chrono::year_month_day folded{year(static_cast<int>(date.year - era * kEraYears)),
                                           month(date.month), day(date.day)};
  if (!folded.ok()) return std::nullopt;
  return sys_days(folded).time_since_epoch().count() + era * kEraDays;
}

/// Reads what must be there, and remembers whether it was.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : left_(text) {}

  bool literal(std::string_view wanted) {
    if (!left_.starts_with(wanted)) return false;
    left_.remove_prefix(wanted.size());
    return true;
  }
  void require(std::string_view wanted) {
    if (!literal(wanted)) failed_ = true;
  }
  /// Digits; at most twelve, so that nothing overflows.
  std::int64_t number() {
    std::int64_t value = 0;
    std::size_t digits = 0;
    for (; digits < left_.size() && left_[digits] >= '0' && left_[digits] <= '9'; ++digits) {
      if (digits >= 12) break;
      value = value * 10 + (left_[digits] - '0');
    }
    if (digits == 0 || digits > 12) failed_ = true;
    left_.remove_prefix(digits);
    return value;
  }
  /// What stands behind the point of a second, in microseconds.
  std::int64_t fraction() {
    std::int64_t value = 0;
    std::int64_t unit = kSecond;
    while (unit > 1 && !left_.empty() && left_.front() >= '0' && left_.front() <= '9') {
      unit /= 10;
      value += unit * (left_.front() - '0');
      left_.remove_prefix(1);
    }
    if (unit == kSecond) failed_ = true;
    return value;
  }
  void fail() { failed_ = true; }
  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] bool at_end() const { return left_.empty(); }
  [[nodiscard]] bool good() const { return !failed_ && left_.empty(); }

 private:
  std::string_view left_;
  bool failed_ = false;
};

CivilDate scan_date(Scanner& scanner) {
  CivilDate date{};
  date.year = scanner.number();
  scanner.require("-");
  date.month = static_cast<unsigned>(scanner.number());
  scanner.require("-");
  date.day = static_cast<unsigned>(scanner.number());
  return date;
}

/// "HH:MM:SS" and a fraction, in microseconds. Hours may be many.
std::int64_t scan_clock(Scanner& scanner, std::int64_t hours) {
  scanner.require(":");
  const std::int64_t minutes = scanner.number();
  scanner.require(":");
  const std::int64_t seconds = scanner.number();
  const std::int64_t fraction = scanner.literal(".") ? scanner.fraction() : 0;
  // An interval's hours reach 2^63 microseconds.
  if (hours > 2'562'047'788 || minutes > 59 || seconds > 60) scanner.fail();
  if (scanner.failed()) return 0;
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(hours) * kHour +
                                   static_cast<std::uint64_t>(minutes) * 60 * kSecond +
                                   static_cast<std::uint64_t>(seconds * kSecond + fraction));
}

/// "+HH", "-HH:MM" or "+HH:MM:SS", in microseconds east.
std::int64_t scan_offset(Scanner& scanner) {
  const bool west = scanner.literal("-");
  if (!west) scanner.require("+");
  std::int64_t seconds = scanner.number() * 3600;
  if (scanner.literal(":")) seconds += scanner.number() * 60;
  if (scanner.literal(":")) seconds += scanner.number();
  if (seconds > 24 * 3600) scanner.fail();
  return (west ? -seconds : seconds) * kSecond;
}

std::optional<std::int64_t> finish_date(Scanner& scanner, CivilDate date) {
  if (scanner.literal(" BC")) date.year = 1 - date.year;
  if (!scanner.good()) return std::nullopt;
  return days_of(date);
}

std::optional<std::int64_t> infinity(std::string_view text) {
  if (text == "infinity") return kInfinity;
  if (text == "-infinity") return kMinusInfinity;
  return std::nullopt;
}

/// One "3 days" of an interval; the unit decides where it goes.
bool add_unit(Scanner& scanner, std::int64_t count, std::int64_t& months, std::int64_t& days) {
  if (scanner.literal("year")) {
    months += 12 * count;
  } else if (scanner.literal("mon")) {
    months += count;
  } else if (scanner.literal("day")) {
    days += count;
  } else {
    return false;
  }
  scanner.literal("s");
  return true;
}

std::optional<Interval> parse_interval(std::string_view text) {
  Scanner scanner(text);
  std::int64_t months = 0;
  std::int64_t days = 0;
  std::int64_t time = 0;
  while (!scanner.failed() && !scanner.at_end()) {
    const bool minus = scanner.literal("-");
    if (!minus) scanner.literal("+");
    const std::int64_t count = scanner.number();
    if (scanner.literal(" ")) {
      if (!add_unit(scanner, minus ? -count : count, months, days)) return std::nullopt;
      scanner.literal(" ");
    } else {
      time = scan_clock(scanner, count);
      if (minus) time = static_cast<std::int64_t>(0 - static_cast<std::uint64_t>(time));
      if (!scanner.good()) return std::nullopt;
    }
  }
  if (scanner.failed() || text.empty()) return std::nullopt;
  if (std::abs(months) > INT32_MAX || std::abs(days) > INT32_MAX) return std::nullopt;
  return Interval{static_cast<std::int32_t>(months), static_cast<std::int32_t>(days),
                  std::chrono::microseconds(time)};
}

std::size_t put_infinity(ShortText& out, std::int64_t which) {
  return static_cast<std::size_t>(
      std::snprintf(out.data(), out.size(), which > 0 ? "infinity" : "-infinity"));
}

bool is_infinite(std::int64_t count) {
  return count == kInfinity || count == kMinusInfinity;
}

/// "YYYY-MM-DD", without the era.
std::size_t put_date(ShortText& out, const CivilDate& date) {
  const long long shown = date.year > 0 ? date.year : 1 - date.year;
  return static_cast<std::size_t>(
      std::snprintf(out.data(), out.size(), "%04lld-%02u-%02u", shown, date.month, date.day));
}

/// "HH:MM:SS.ffffff" behind what stands there.
std::size_t put_clock(ShortText& out, std::size_t at, std::uint64_t microseconds) {
  const std::uint64_t seconds = microseconds / kSecond;
  return at + static_cast<std::size_t>(std::snprintf(
                  out.data() + at, out.size() - at, "%02llu:%02u:%02u.%06u",
                  static_cast<unsigned long long>(seconds / 3600),
                  static_cast<unsigned>(seconds / 60 % 60), static_cast<unsigned>(seconds % 60),
                  static_cast<unsigned>(microseconds % kSecond)));
}

std::size_t put(ShortText& out, std::size_t at, std::string_view text) {
  return at + text.copy(out.data() + at, out.size() - at);
}

}  // namespace

std::int64_t decode_date(const Cell& cell) {
  if (const auto endless = infinity(cell.text())) return *endless;
  Scanner scanner(cell.text());
  const CivilDate date = scan_date(scanner);
  const std::optional<std::int64_t> days = finish_date(scanner, date);
  if (!days) throw_conversion(cell, "a date");
  return *days;
}

std::int64_t decode_timestamp(const Cell& cell, bool zoned) {
  const char* const wanted = zoned ? "a timestamptz" : "a timestamp";
  if (const auto endless = infinity(cell.text())) return *endless;
  Scanner scanner(cell.text());
  const CivilDate date = scan_date(scanner);
  scanner.require(" ");
  const std::int64_t hours = scanner.number();
  const std::int64_t time = scan_clock(scanner, hours);
  const std::int64_t offset = zoned ? scan_offset(scanner) : 0;
  const std::optional<std::int64_t> days = finish_date(scanner, date);
  // PostgreSQL's last year is 294276, so that microseconds fit.
  if (!days || hours > 24 || *days > 110'000'000 || *days < -110'000'000) {
    throw_conversion(cell, wanted);
  }
  std::int64_t sum = 0;
  if (__builtin_mul_overflow(*days, kDay, &sum) ||
      __builtin_add_overflow(sum, time - offset, &sum)) {
    throw_conversion(cell, wanted);
  }
  return sum;
}

std::int64_t decode_time(const Cell& cell) {
  Scanner scanner(cell.text());
  const std::int64_t time = scan_clock(scanner, scanner.number());
  if (!scanner.good() || time > kDay) throw_conversion(cell, "a time");
  return time;
}

Interval decode_interval(const Cell& cell) {
  const std::optional<Interval> interval = parse_interval(cell.text());
  if (!interval) throw_conversion(cell, "an interval");
  return *interval;
}

std::int64_t decode_duration(const Cell& cell) {
  const Interval interval = decode_interval(cell);
  std::int64_t sum = 0;
  // 2^31 days are more than 2^63 microseconds.
  if (interval.months != 0 || __builtin_mul_overflow(interval.days, kDay, &sum) ||
      __builtin_add_overflow(sum, interval.time.count(), &sum)) {
    throw_conversion(cell, "an interval without months");
  }
  return sum;
}

std::size_t format_date(ShortText& out, std::int64_t days) {
  // std::chrono's days have 32 bits, and max() and min() stand for PostgreSQL's infinities.
  if (days >= INT32_MAX || days <= INT32_MIN) return put_infinity(out, days);
  const CivilDate date = civil(days);
  const std::size_t size = put_date(out, date);
  return date.year > 0 ? size : put(out, size, " BC");
}

std::size_t format_timestamp(ShortText& out, std::int64_t microseconds, bool zoned) {
  if (is_infinite(microseconds)) return put_infinity(out, microseconds);
  const std::int64_t days = floor_divide(microseconds, kDay);
  const CivilDate date = civil(days);
  std::size_t size = put(out, put_date(out, date), " ");
  size = put_clock(out, size, static_cast<std::uint64_t>(microseconds - days * kDay));
  if (zoned) size = put(out, size, "+00");
  return date.year > 0 ? size : put(out, size, " BC");
}

std::size_t format_time(ShortText& out, std::int64_t microseconds) {
  const bool minus = microseconds < 0;
  const auto size = static_cast<std::uint64_t>(microseconds);
  return put_clock(out, put(out, 0, minus ? "-" : ""), minus ? 0 - size : size);
}

std::size_t format_interval(ShortText& out, const Interval& interval) {
  std::size_t size = 0;
  if (interval.months != 0) {
    size += static_cast<std::size_t>(
        std::snprintf(out.data(), out.size(), "%d mons ", interval.months));
  }
  if (interval.days != 0) {
    size += static_cast<std::size_t>(
        std::snprintf(out.data() + size, out.size() - size, "%d days ", interval.days));
  }
  const std::int64_t time = interval.time.count();
  const auto bits = static_cast<std::uint64_t>(time);
  size = put(out, size, time < 0 ? "-" : "");
  return put_clock(out, size, time < 0 ? 0 - bits : bits);
}

}  // namespace snowglobe::detail
