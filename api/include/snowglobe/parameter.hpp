// snowglobe/parameter.hpp - a value for a $1 in a statement.
//
// Integers, floating point, bool, dates and times, uuid and bytes travel with their PostgreSQL type
// (int4, int8, float8, bool, date, timestamptz, ..., bytea), vectors as arrays of these. Text has
// no type of its own, so that the statement decides, as with a quoted literal: "2024-05-01" fits a
// date column, "1.10" a numeric one, "{\"a\":1}" a jsonb one. docs/api.md has the table.
#pragma once

#include <snowglobe/types.hpp>

#include <array>
#include <charconv>
#include <chrono>
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
inline namespace v1 {

/// Borrows text and bytes: it lives during the call that it is passed to.
class Parameter {
 public:
  Parameter(std::nullptr_t) noexcept {}      // NOLINT: implicit, as all of these
  Parameter(std::nullopt_t) noexcept {}      // NOLINT
  Parameter(std::string_view text) noexcept  // NOLINT
      : data_(text.data() ? text.data() : ""), size_(text.size()), store_(Store::borrowed) {}
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
        store_(Store::borrowed),
        binary_(true) {}
  Parameter(const Bytes& bytes) noexcept : Parameter(BytesView(bytes)) {}  // NOLINT

  template <std::same_as<bool> T>
  Parameter(T value) noexcept  // NOLINT
      : size_(1), type_(kBool), store_(Store::inside) {
    buffer_[0] = value ? 't' : 'f';
  }
  template <detail::Integer T>
  Parameter(T value) noexcept : type_(integer_type(value)), store_(Store::inside) {  // NOLINT
    format(value);
  }
  template <detail::Floating T>
  Parameter(T value) noexcept : type_(kFloat8), store_(Store::inside) {  // NOLINT
    format(value);
  }
  /// Times are sent in whole microseconds, cut towards the past. A time point's max() and min() are
  /// PostgreSQL's infinity and -infinity.
  template <detail::Temporal T>
  Parameter(const T& value) : type_(temporal_type<T>()), store_(Store::inside) {  // NOLINT
    size_ = format_temporal(value);
  }
  Parameter(const Uuid& value)  // NOLINT
      : owned_(value.to_string()), type_(kUuid), store_(Store::owned) {}
  template <detail::LabelledEnum T>
  Parameter(T value) {  // NOLINT
    for (const EnumLabel<T>& known : kEnumLabels<T>) {
      if (known.value == value) *this = Parameter(known.label);
    }
    if (is_null()) detail::throw_bad_value("an enum's value has no label in kEnumLabels");
  }
  template <detail::UserWritable T>
  Parameter(const T& value)  // NOLINT
      : owned_(Conversion<T>::to_text(value)), type_(user_type<T>()), store_(Store::owned) {}
  /// An array; of vectors, of several dimensions, which must be equally long at each depth.
  template <class T>
  requires std::constructible_from<Parameter, const T&> &&
      (!std::same_as<T, std::byte>)Parameter(const std::vector<T>& values)  // NOLINT
      : store_(Store::owned) {
    std::uint32_t element = element_type<T>();
    append_array(owned_, values, element);
    type_ = array_of(element);
  }
  template <class T>
  requires std::constructible_from<Parameter, const T&> Parameter(const std::optional<T>& value) {
    // NOLINT
    if (value) *this = Parameter(*value);
  }

  /// Copies what it borrows, so that it may live longer than the call.
  void own() {
    if (store_ != Store::borrowed) return;
    owned_.assign(data_, size_);
    store_ = Store::owned;
  }

  [[nodiscard]] bool is_null() const noexcept { return store_ == Store::nothing; }
  /// Text or, for bytea, the bytes themselves.
  [[nodiscard]] std::string_view data() const noexcept {
    switch (store_) {
      case Store::owned:
        return owned_;
      case Store::inside:
        return {buffer_.data(), size_};
      case Store::nothing:
      case Store::borrowed:
        break;
    }
    return {data_, size_};
  }
  [[nodiscard]] bool is_binary() const noexcept { return binary_; }
  /// The object identifier of the type in pg_type; 0: let the statement decide.
  [[nodiscard]] std::uint32_t type_oid() const noexcept { return type_; }

 private:
  enum class Store : std::uint8_t { nothing, borrowed, inside, owned };

  // From pg_type.dat; these never change.
  static constexpr std::uint32_t kBool = 16, kBytea = 17, kInt8 = 20, kInt4 = 23, kFloat8 = 701,
                                 kDate = 1082, kTime = 1083, kTimestamp = 1114, kTimestamptz = 1184,
                                 kInterval = 1186, kNumeric = 1700, kUuid = 2950;

  static constexpr std::uint32_t array_of(std::uint32_t element) noexcept {
    constexpr std::array<std::array<std::uint32_t, 2>, 12> kArrays{{{kBool, 1000},
                                                                    {kBytea, 1001},
                                                                    {kInt4, 1007},
                                                                    {kInt8, 1016},
                                                                    {kFloat8, 1022},
                                                                    {kTimestamp, 1115},
                                                                    {kDate, 1182},
                                                                    {kTime, 1183},
                                                                    {kTimestamptz, 1185},
                                                                    {kInterval, 1187},
                                                                    {kNumeric, 1231},
                                                                    {kUuid, 2951}}};
    for (const auto& [type, array] : kArrays) {
      if (type == element) return array;
    }
    return 0;
  }

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
  static constexpr std::uint32_t temporal_type() noexcept {
    if constexpr (detail::Date<T>) return kDate;
    if constexpr (detail::Instant<T>) return kTimestamptz;
    if constexpr (detail::LocalInstant<T>) return kTimestamp;
    if constexpr (detail::TimeOfDay<T>) return kTime;
    return kInterval;
  }
  template <class T>
  static constexpr std::uint32_t user_type() noexcept {
    if constexpr (requires { Conversion<T>::kTypeOid; }) return Conversion<T>::kTypeOid;
    return 0;
  }

  template <class T>
  static constexpr std::uint32_t element_type() noexcept {
    if constexpr (detail::kIsVector<T> || detail::kIsOptional<T>)
      return element_type<typename T::value_type>();
    if constexpr (detail::UserWritable<T>) return user_type<T>();
    if constexpr (detail::Temporal<T>) return temporal_type<T>();
    if constexpr (detail::Floating<T>) return kFloat8;
    if constexpr (detail::Integer<T>) return integer_type(T{});
    if constexpr (std::same_as<T, bool>) return kBool;
    if constexpr (std::same_as<T, Uuid>) return kUuid;
    if constexpr (std::same_as<T, Bytes>) return kBytea;
    return 0;
  }

  template <class T>
  void format(T value) noexcept {
    size_ = static_cast<std::size_t>(
        std::to_chars(buffer_.data(), buffer_.data() + buffer_.size(), value).ptr - buffer_.data());
  }

  template <class D>
  static std::int64_t microseconds(const D& duration) {
    return std::chrono::floor<std::chrono::duration<std::int64_t, std::micro>>(duration).count();
  }
  template <class T>
  std::size_t format_temporal(const T& value) {
    if constexpr (std::same_as<T, std::chrono::year_month_day>) {
      if (!value.ok()) detail::throw_bad_value("a year_month_day is no date");
      return detail::format_date(buffer_, std::chrono::sys_days(value).time_since_epoch().count());
    } else if constexpr (detail::Date<T>) {
      return detail::format_date(buffer_, value.time_since_epoch().count());
    } else if constexpr (detail::Instant<T> || detail::LocalInstant<T>) {
      const std::int64_t count = value == T::max()   ? detail::kInfinity
                                 : value == T::min() ? detail::kMinusInfinity
                                                     : microseconds(value.time_since_epoch());
      return detail::format_timestamp(buffer_, count, detail::Instant<T>);
    } else if constexpr (detail::TimeOfDay<T>) {
      return detail::format_time(buffer_, microseconds(value.to_duration()));
    } else if constexpr (detail::Duration<T>) {
      return detail::format_interval(buffer_,
                                     {0, 0, std::chrono::microseconds(microseconds(value))});
    } else {
      return detail::format_interval(buffer_, value);
    }
  }

  /// `element` becomes the type that all elements fit.
  template <class T>
  static void append_array(std::string& out, const std::vector<T>& values, std::uint32_t& element) {
    out += '{';
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i > 0) out += ',';
      if constexpr (detail::kIsVector<T>) {
        append_array(out, values[i], element);
      } else {
        append_element(out, Parameter(static_cast<const T&>(values[i])), element);
      }
    }
    out += '}';
  }
  static void append_element(std::string& out, const Parameter& value, std::uint32_t& element) {
    if (value.is_null()) {
      out += "NULL";
      return;
    }
    if (value.type_ == kNumeric) element = kNumeric;  // unsigned, and beyond int8
    detail::append_array_element(out, value.data(), value.binary_);
  }

  const char* data_ = nullptr;
  std::size_t size_ = 0;
  std::string owned_;
  std::uint32_t type_ = 0;
  Store store_ = Store::nothing;
  bool binary_ = false;
  detail::ShortText buffer_{};
};

}  // namespace v1
}  // namespace snowglobe
