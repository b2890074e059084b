// snowglobe/convert.hpp - values of a result as C++ types: integers, floating point, bool,
// std::string, std::string_view (while the Result lives), Bytes for bytea, std::optional of these
// for what may be NULL. Numeric, dates, json, uuid and arrays are read as text. A value that does
// not fit throws ConversionError.
#pragma once

#include <snowglobe/export.hpp>
#include <snowglobe/parameter.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>

namespace snowglobe::detail {

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
/// Decodes bytea's hexadecimal form.
[[nodiscard]] SNOWGLOBE_API Bytes decode_bytea(const Cell& cell);

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

/// What a row of Ts is: the value itself for one, a tuple for several.
template <class T, class... Ts>
using RowOf = std::conditional_t<sizeof...(Ts) == 0, T, std::tuple<T, Ts...>>;

template <class T>
T convert_number(const Cell& cell, const char* wanted) {
  T value{};
  const char* end = cell.data + cell.size;
  auto [stop, error] = std::from_chars(cell.data, end, value);
  if (error != std::errc{} || stop != end) throw_conversion(cell, wanted);
  return value;
}

template <class T>
constexpr bool kConvertible =
    Integer<T> || Floating<T> || std::same_as<T, bool> || std::same_as<T, std::string> ||
    std::same_as<T, std::string_view> || std::same_as<T, Bytes>;

template <class T>
T convert(const Cell& cell) {
  if constexpr (IsOptional<T>::value) {
    if (cell.data == nullptr) return std::nullopt;
    return convert<typename T::value_type>(cell);
  } else {
    static_assert(kConvertible<T>, "a result cannot be read as this type");
    if (cell.data == nullptr) throw_null(cell);
    if constexpr (std::same_as<T, bool>) {
      if (cell.text() == "t") return true;
      if (cell.text() == "f") return false;
      throw_conversion(cell, "a bool");
    } else if constexpr (Integer<T>) {
      return convert_number<T>(cell, sizeof(T) == 8   ? "a 64-bit integer"
                                     : sizeof(T) == 4 ? "a 32-bit integer"
                                                      : "a small integer");
    } else if constexpr (Floating<T>) {
      return convert_number<T>(cell, "a floating-point number");
    } else if constexpr (std::same_as<T, Bytes>) {
      return decode_bytea(cell);
    } else {
      return T(cell.text());
    }
  }
}

}  // namespace snowglobe::detail
