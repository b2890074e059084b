// snowglobe/parameter.hpp - a value for a $1 in a statement.
//
// Integers, floating point and bool travel with their PostgreSQL type (int4, int8, float8, bool),
// bytes as bytea. Text has no type of its own, so that the statement decides, as with a quoted
// literal: "2024-05-01" fits a date column, "1.10" a numeric one, "{\"a\":1}" a jsonb one.
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace snowglobe {

/// A bytea value.
using Bytes = std::vector<std::byte>;
using BytesView = std::span<const std::byte>;

namespace detail {

template <class T>
concept Character = std::same_as<T, char> || std::same_as<T, wchar_t> || std::same_as<T, char8_t> ||
    std::same_as<T, char16_t> || std::same_as<T, char32_t>;
template <class T>
concept Integer = std::integral<T> && !std::same_as<T, bool> && !Character<T>;
template <class T>
concept Floating = std::same_as<T, float> || std::same_as<T, double>;

}  // namespace detail

/// Borrows text and bytes: it lives during the call that it is passed to.
class Parameter {
 public:
  Parameter(std::nullptr_t) noexcept {}      // NOLINT: implicit, as all of these
  Parameter(std::nullopt_t) noexcept {}      // NOLINT
  Parameter(std::string_view text) noexcept  // NOLINT
      : data_(text.data() ? text.data() : ""), size_(text.size()), null_(false) {}
  Parameter(const std::string& text) noexcept : Parameter(std::string_view(text)) {}  // NOLINT
  /// A null pointer is SQL's NULL.
  Parameter(const char* text) noexcept {  // NOLINT
    if (text != nullptr) *this = Parameter(std::string_view(text));
  }
  Parameter(BytesView bytes) noexcept  // NOLINT
      : data_(bytes.empty() ? ""
                            : static_cast<const char*>(static_cast<const void*>(bytes.data()))),
        size_(bytes.size()),
        type_(kBytea),
        null_(false),
        binary_(true) {}
  Parameter(const Bytes& bytes) noexcept : Parameter(BytesView(bytes)) {}  // NOLINT

  template <std::same_as<bool> T>
  Parameter(T value) noexcept  // NOLINT
      : size_(1), type_(kBool), null_(false), inline_(true) {
    buffer_[0] = value ? 't' : 'f';
  }
  template <detail::Integer T>
  Parameter(T value) noexcept : type_(integer_type(value)), null_(false), inline_(true) {  // NOLINT
    format(value);
  }
  template <detail::Floating T>
  Parameter(T value) noexcept : type_(kFloat8), null_(false), inline_(true) {  // NOLINT
    format(value);
  }
  template <class T>
  requires std::constructible_from<Parameter, const T&> Parameter(const std::optional<T>& value)
  noexcept {  // NOLINT
    if (value) *this = Parameter(*value);
  }

  [[nodiscard]] bool is_null() const noexcept { return null_; }
  /// Text or, for bytea, the bytes themselves.
  [[nodiscard]] std::string_view data() const noexcept {
    return {inline_ ? buffer_.data() : data_, size_};
  }
  [[nodiscard]] bool is_binary() const noexcept { return binary_; }
  /// The object identifier of the type in pg_type; 0: let the statement decide.
  [[nodiscard]] std::uint32_t type_oid() const noexcept { return type_; }

 private:
  // From pg_type.dat; these never change.
  static constexpr std::uint32_t kBool = 16, kBytea = 17, kInt8 = 20, kInt4 = 23, kFloat8 = 701,
                                 kNumeric = 1700;

  template <class T>
  static constexpr std::uint32_t integer_type([[maybe_unused]] T value) noexcept {
    if constexpr (sizeof(T) < 4 || (sizeof(T) == 4 && std::is_signed_v<T>)) {
      return kInt4;
    } else if constexpr (sizeof(T) == 4 || std::is_signed_v<T>) {
      return kInt8;
    } else {
      // What an unsigned 64-bit integer can hold beyond int8 is still exact as numeric.
      return value <= static_cast<T>(std::numeric_limits<std::int64_t>::max()) ? kInt8 : kNumeric;
    }
  }

  template <class T>
  void format(T value) noexcept {
    size_ = static_cast<std::size_t>(
        std::to_chars(buffer_.data(), buffer_.data() + buffer_.size(), value).ptr - buffer_.data());
  }

  const char* data_ = nullptr;
  std::size_t size_ = 0;
  std::uint32_t type_ = 0;
  bool null_ = true;
  bool binary_ = false;
  bool inline_ = false;
  std::array<char, 32> buffer_{};
};

}  // namespace snowglobe
