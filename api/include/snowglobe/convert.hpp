// snowglobe/convert.hpp - values of a result as C++ types: integers, floating point, bool,
// std::string, std::string_view (while the Result lives), Bytes for bytea, std::chrono's dates and
// times, Uuid, Interval, std::vector for arrays, enums and types of your own (types.hpp), and
// std::optional of these for what may be NULL. Numeric and json are read as text, or as a type of
// your own. A value that does not fit throws ConversionError.
#pragma once

#include <snowglobe/export.hpp>
#include <snowglobe/types.hpp>

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

namespace snowglobe {
inline namespace v1 {
namespace detail {

/// A value as it came: PostgreSQL's text, or NULL (data is null). `column` is for messages.
struct Cell {
  const char* data = nullptr;
  std::size_t size = 0;
  std::uint32_t type_oid = 0;
  const char* column = "";

  [[nodiscard]] std::string_view text() const { return {data, size}; }
};

[[noreturn]] SNOWGLOBE_API void throw_null(const Cell& cell);
[[noreturn]] SNOWGLOBE_API void throw_conversion(const Cell& cell, const char* wanted);
/// To be called in a handler: what a Conversion threw, as a ConversionError that names the column.
[[noreturn]] SNOWGLOBE_API void throw_user_conversion(const Cell& cell, const char* why);
/// Decodes bytea's hexadecimal form.
[[nodiscard]] SNOWGLOBE_API Bytes decode_bytea(const Cell& cell);
[[nodiscard]] SNOWGLOBE_API Uuid decode_uuid(const Cell& cell);

// Days and microseconds since 1970, kInfinity and kMinusInfinity among them; a time of day or an
// interval without months in microseconds, a day as 24 hours.
[[nodiscard]] SNOWGLOBE_API std::int64_t decode_date(const Cell& cell);
[[nodiscard]] SNOWGLOBE_API std::int64_t decode_timestamp(const Cell& cell, bool zoned);
[[nodiscard]] SNOWGLOBE_API std::int64_t decode_time(const Cell& cell);
[[nodiscard]] SNOWGLOBE_API std::int64_t decode_duration(const Cell& cell);
[[nodiscard]] SNOWGLOBE_API Interval decode_interval(const Cell& cell);

/// Takes an array's text apart (PostgreSQL's documentation, 8.15.6). What is not one throws
/// ConversionError.
class SNOWGLOBE_API ArrayReader {
 public:
  explicit ArrayReader(const Cell& cell);
  /// At the beginning of an array, or of one inside of it.
  void enter();
  /// Whether another element follows; if not, its end has been passed.
  bool more();
  /// The next element. Valid until the next call.
  Cell element();
  /// Nothing may be left.
  void finish() const;

 private:
  void read_quoted();
  void read_plain();
  [[noreturn]] void malformed() const;

  Cell cell_;
  std::string_view left_;
  std::string element_;
  bool first_ = true;
};

template <class T>
T convert_number(const Cell& cell, const char* wanted) {
  T value{};
  const char* end = cell.data + cell.size;
  auto [stop, error] = std::from_chars(cell.data, end, value);
  if (error != std::errc{} || stop != end) throw_conversion(cell, wanted);
  return value;
}

template <class T>
constexpr bool kReadable =
    Integer<T> || Floating<T> || Temporal<T> || LabelledEnum<T> || UserReadable<T> ||
    kIsVector<T> || kIsOptional<T> || std::same_as<T, bool> || std::same_as<T, std::string> ||
    std::same_as<T, std::string_view> || std::same_as<T, Bytes> || std::same_as<T, Uuid>;

/// Microseconds as a D, cut towards the past. Throws where they are beyond its range.
template <class D>
D narrow(const Cell& cell, std::int64_t microseconds) {
  using Wide = std::chrono::duration<long double, typename D::period>;
  if constexpr (!std::is_floating_point_v<typename D::rep>) {
    const Wide wide = std::chrono::microseconds(microseconds);
    if (wide < Wide(D::min()) || wide > Wide(D::max())) {
      throw_conversion(cell, "a time of this type");
    }
    return std::chrono::floor<D>(std::chrono::microseconds(microseconds));
  } else {
    return std::chrono::microseconds(microseconds);
  }
}

template <class T>
T convert_date(const Cell& cell) {
  const std::int64_t count = decode_date(cell);
  if constexpr (std::same_as<T, std::chrono::year_month_day>) {
    // std::chrono::year has 16 bits; date reaches further.
    using std::chrono::day, std::chrono::month, std::chrono::sys_days, std::chrono::year;
    constexpr auto kFirst = sys_days(year::min() / month(1) / day(1)).time_since_epoch().count();
    constexpr auto kLast = sys_days(year::max() / month(12) / day(31)).time_since_epoch().count();
    if (count < kFirst || count > kLast) throw_conversion(cell, "a std::chrono::year_month_day");
    return T(sys_days(std::chrono::days(count)));
  } else {
    if (count == kInfinity) return T::max();
    if (count == kMinusInfinity) return T::min();
    return T(std::chrono::days(count));
  }
}

template <class T>
T convert_temporal(const Cell& cell) {
  if constexpr (Date<T>) {
    return convert_date<T>(cell);
  } else if constexpr (Instant<T> || LocalInstant<T>) {
    const std::int64_t count = decode_timestamp(cell, Instant<T>);
    if (count == kInfinity) return T::max();
    if (count == kMinusInfinity) return T::min();
    return T(narrow<typename T::duration>(cell, count));
  } else if constexpr (TimeOfDay<T>) {
    return T(narrow<typename T::precision>(cell, decode_time(cell)));
  } else if constexpr (Duration<T>) {
    return narrow<T>(cell, decode_duration(cell));
  } else {
    return decode_interval(cell);
  }
}

template <class T>
T convert_user(const Cell& cell) {
  try {
    return Conversion<T>::from_text(cell.text());
  } catch (const std::exception& error) {
    throw_user_conversion(cell, error.what());
  }
}

template <class T>
T convert_enum(const Cell& cell) {
  for (const EnumLabel<T>& known : kEnumLabels<T>) {
    if (known.label == cell.text()) return known.value;
  }
  throw_conversion(cell, "one of the enum's labels");
}

template <class T>
T convert(const Cell& cell);

template <class T>
std::vector<T> convert_array(ArrayReader& reader) {
  static_assert(!std::same_as<T, std::string_view>, "the view would dangle: ask for std::string");
  std::vector<T> values;
  reader.enter();
  while (reader.more()) {
    if constexpr (kIsVector<T>) {
      values.push_back(convert_array<typename T::value_type>(reader));
    } else {
      values.push_back(convert<T>(reader.element()));
    }
  }
  return values;
}

template <class T>
T convert(const Cell& cell) {
  if constexpr (kIsOptional<T>) {
    if (cell.data == nullptr) return std::nullopt;
    return convert<typename T::value_type>(cell);
  } else {
    static_assert(kReadable<T>, "a result cannot be read as this type; see snowglobe/types.hpp");
    if (cell.data == nullptr) throw_null(cell);
    if constexpr (UserReadable<T>) {
      return convert_user<T>(cell);
    } else if constexpr (std::same_as<T, bool>) {
      if (cell.text() == "t") return true;
      if (cell.text() == "f") return false;
      throw_conversion(cell, "a bool");
    } else if constexpr (Integer<T>) {
      return convert_number<T>(cell, sizeof(T) == 8   ? "a 64-bit integer"
                                     : sizeof(T) == 4 ? "a 32-bit integer"
                                                      : "a small integer");
    } else if constexpr (Floating<T>) {
      return convert_number<T>(cell, "a floating-point number");
    } else if constexpr (Temporal<T>) {
      return convert_temporal<T>(cell);
    } else if constexpr (std::same_as<T, Uuid>) {
      return decode_uuid(cell);
    } else if constexpr (std::same_as<T, Bytes>) {
      return decode_bytea(cell);
    } else if constexpr (LabelledEnum<T>) {
      return convert_enum<T>(cell);
    } else if constexpr (kIsVector<T>) {
      ArrayReader reader(cell);
      T values = convert_array<typename T::value_type>(reader);
      reader.finish();
      return values;
    } else {
      return T(cell.text());
    }
  }
}

}  // namespace detail
}  // namespace v1
}  // namespace snowglobe
