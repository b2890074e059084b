// snowglobe/types.hpp - C++ types for PostgreSQL's, and how a program adds its own.
//
// A type of your own is read and sent once snowglobe::Conversion knows its text:
//   template <>
//   struct snowglobe::Conversion<Money> {
//     static std::string to_text(const Money& value);       // for parameters
//     static Money from_text(std::string_view text);        // for results; may throw
//     static constexpr std::uint32_t kTypeOid = 1700;       // optional: pg_type's, here numeric
//   };
// An enum is sent and read by its labels:
//   template <>
//   inline constexpr auto snowglobe::kEnumLabels<Mood> =
//       std::to_array<snowglobe::EnumLabel<Mood>>({{Mood::sad, "sad"}, {Mood::happy, "happy"}});
// Arrays (std::vector) and std::optional of both work by themselves.
#pragma once

#include <snowglobe/export.hpp>

#include <array>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace snowglobe {
inline namespace v1 {

/// A bytea value.
using Bytes = std::vector<std::byte>;
using BytesView = std::span<const std::byte>;

/// A uuid value; the sixteen bytes in the order in which they are written.
struct Uuid {
  std::array<std::byte, 16> bytes{};

  /// 8-4-4-4-12 hexadecimal digits, lower case.
  [[nodiscard]] SNOWGLOBE_API std::string to_string() const;
  /// Takes what to_string() gives, in either case. Throws InvalidArgument.
  [[nodiscard]] SNOWGLOBE_API static Uuid parse(std::string_view text);

  friend auto operator<=>(const Uuid&, const Uuid&) = default;
};

/// PostgreSQL's interval: three counts that do not add up, since months and days have no fixed
/// length. Where only the last two matter, ask for a std::chrono duration instead.
struct Interval {
  std::int32_t months = 0;
  std::int32_t days = 0;
  std::chrono::microseconds time{0};

  friend bool operator==(const Interval&, const Interval&) = default;
};

/// To be specialised for types of your own; see above.
template <class T>
struct Conversion {};

template <class E>
struct EnumLabel {
  E value;
  std::string_view label;
};
/// To be specialised for enums of your own; see above.
template <class E>
inline constexpr std::array<EnumLabel<E>, 0> kEnumLabels{};

namespace detail {

template <class T>
concept Character = std::same_as<T, char> || std::same_as<T, wchar_t> || std::same_as<T, char8_t> ||
    std::same_as<T, char16_t> || std::same_as<T, char32_t>;
template <class T>
concept Integer = std::integral<T> && !std::same_as<T, bool> && !Character<T>;
template <class T>
concept Floating = std::same_as<T, float> || std::same_as<T, double>;

template <class T>
concept UserWritable = requires(const T& value) {
  { Conversion<T>::to_text(value) } -> std::convertible_to<std::string>;
};
template <class T>
concept UserReadable = requires(std::string_view text) {
  { Conversion<T>::from_text(text) } -> std::convertible_to<T>;
};
template <class T>
concept LabelledEnum = std::is_enum_v<T> && !kEnumLabels<T>.empty();

template <class T>
inline constexpr bool kIsVector = false;
template <class T>
inline constexpr bool kIsVector<std::vector<T>> = !std::same_as<T, std::byte>;

template <class T>
inline constexpr bool kIsOptional = false;
template <class T>
inline constexpr bool kIsOptional<std::optional<T>> = true;

// std::chrono's types. Points in days are dates.
template <class T>
inline constexpr bool kIsSysTime = false;
template <class D>
inline constexpr bool kIsSysTime<std::chrono::sys_time<D>> = true;
template <class T>
inline constexpr bool kIsLocalTime = false;
template <class D>
inline constexpr bool kIsLocalTime<std::chrono::local_time<D>> = true;
template <class T>
inline constexpr bool kIsDuration = false;
template <class R, class P>
inline constexpr bool kIsDuration<std::chrono::duration<R, P>> = true;
template <class T>
inline constexpr bool kIsTimeOfDay = false;
template <class D>
inline constexpr bool kIsTimeOfDay<std::chrono::hh_mm_ss<D>> = true;

template <class T>
concept Date = std::same_as<T, std::chrono::year_month_day> ||
    std::same_as<T, std::chrono::sys_days> || std::same_as<T, std::chrono::local_days>;
template <class T>
concept Instant = kIsSysTime<T> && !Date<T>;
template <class T>
concept LocalInstant = kIsLocalTime<T> && !Date<T>;
template <class T>
concept Duration = kIsDuration<T>;
template <class T>
concept TimeOfDay = kIsTimeOfDay<T>;
template <class T>
concept Temporal = Date<T> || Instant<T> || LocalInstant<T> || Duration<T> || TimeOfDay<T> ||
    std::same_as<T, Interval>;

[[noreturn]] SNOWGLOBE_API void throw_bad_value(const char* what);

/// Room for every date, time and interval as text.
using ShortText = std::array<char, 64>;
/// Where PostgreSQL says "infinity" and "-infinity"; the numbers beyond what it can hold.
inline constexpr std::int64_t kInfinity = INT64_MAX, kMinusInfinity = INT64_MIN;

// Each writes to `out` and returns the number of characters. Times are microseconds, points of time
// since 1970, dates days since 1970.
SNOWGLOBE_API std::size_t format_date(ShortText& out, std::int64_t days);
SNOWGLOBE_API std::size_t format_timestamp(ShortText& out, std::int64_t microseconds, bool zoned);
SNOWGLOBE_API std::size_t format_time(ShortText& out, std::int64_t microseconds);
SNOWGLOBE_API std::size_t format_interval(ShortText& out, const Interval& interval);

/// One element of an array literal: quoted, or NULL.
SNOWGLOBE_API void append_array_element(std::string& out, std::string_view text, bool binary);

}  // namespace detail
}  // namespace v1
}  // namespace snowglobe
