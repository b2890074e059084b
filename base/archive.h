// base/archive.h - plain states as bytes: one description of a struct serves writing and reading.
//
//   template <class Archive>
//   void describe(Archive& archive, PicState& state) {
//     archive(state.lines, state.requested);
//   }
//
// Integers are little-endian and as wide as their type; nothing is aligned, nothing is named. What
// may change between versions of the library sits behind a section() with a version.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <array>
#include <bit>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace snowglobe::base {

namespace detail {

/// Fields that go as an integer: bool, enums and integers.
template <class T>
concept Scalar = std::integral<T> || std::is_enum_v<T>;

template <std::size_t kBytes>
struct UnsignedOf;
template <>
struct UnsignedOf<1> {
  using Type = std::uint8_t;
};
template <>
struct UnsignedOf<2> {
  using Type = std::uint16_t;
};
template <>
struct UnsignedOf<4> {
  using Type = std::uint32_t;
};
template <>
struct UnsignedOf<8> {
  using Type = std::uint64_t;
};

}  // namespace detail

/// Appends. Never fails. `describe` takes a mutable reference for the reader's sake; the writer
/// leaves it alone.
class ArchiveWriter {
 public:
  static constexpr bool kReads = false;

  template <class... Fields>
  void operator()(Fields&... fields) {
    (put(fields), ...);
  }
  /// Opens a part that the reader can recognise: a tag of four characters and a version.
  void section(const char (&tag)[5], std::uint16_t version) {
    raw(ConstBytes(reinterpret_cast<const std::uint8_t*>(tag), 4));
    put(version);
  }
  void raw(ConstBytes bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }

  [[nodiscard]] std::vector<std::uint8_t> take() { return std::move(bytes_); }

 private:
  template <detail::Scalar T>
  void put(T field) {
    using Unsigned = typename detail::UnsignedOf<sizeof(T)>::Type;
    std::uint8_t bytes[sizeof(T)];
    store_le(bytes, static_cast<Unsigned>(field));
    raw(bytes);
  }
  void put(std::string& field) { put_list(field); }
  template <class T, std::size_t kCount>
  void put(std::array<T, kCount>& field) {
    for (T& element : field)
      put(element);
  }
  template <class T>
  void put(std::vector<T>& field) {
    put_list(field);
  }
  template <class T>
  void put(std::optional<T>& field) {
    put(field.has_value());
    if (field) put(*field);
  }
  template <class T>
  requires std::is_class_v<T>
  void put(T& field) { describe(*this, field); }

  template <class List>
  void put_list(List& list) {
    put(static_cast<std::uint32_t>(list.size()));
    for (auto& element : list)
      put(element);
  }

  std::vector<std::uint8_t> bytes_;
};

/// Takes fields off in the same order. What does not fit (too short, a bool that is neither 0 nor
/// 1, a wrong section) makes it fail() for good: fields read from then on are zero, lists empty.
/// Ranges beyond that (enums, indices) are for whoever takes the state over.
class ArchiveReader {
 public:
  static constexpr bool kReads = true;

  /// `bytes` is not owned.
  explicit ArchiveReader(ConstBytes bytes) : bytes_(bytes) {}

  template <class... Fields>
  void operator()(Fields&... fields) {
    (get(fields), ...);
  }
  /// Fails unless the section with this tag and version begins here.
  void section(const char (&tag)[5], std::uint16_t version) {
    const ConstBytes found = raw(4);
    std::uint16_t found_version = 0;
    get(found_version);
    if (ok() && (std::memcmp(found.data(), tag, 4) != 0 || found_version != version)) fail();
  }
  /// The next `count` bytes, or none after a failure.
  ConstBytes raw(std::size_t count) {
    if (count > bytes_.size() - position_) fail();
    if (failed_) return {};
    position_ += count;
    return bytes_.subspan(position_ - count, count);
  }

  void fail() { failed_ = true; }
  [[nodiscard]] bool ok() const { return !failed_; }
  /// True if all bytes were taken, and well.
  [[nodiscard]] bool finished() const { return !failed_ && position_ == bytes_.size(); }
  [[nodiscard]] std::size_t left() const { return failed_ ? 0 : bytes_.size() - position_; }

 private:
  template <detail::Scalar T>
  void get(T& field) {
    const ConstBytes bytes = raw(sizeof(T));
    if (bytes.empty()) {
      field = T{};
      return;
    }
    const auto value = load_le<typename detail::UnsignedOf<sizeof(T)>::Type>(bytes.data());
    if constexpr (std::is_same_v<T, bool>) {
      if (value > 1) fail();
      field = !failed_ && value == 1;
    } else {
      field = static_cast<T>(value);
    }
  }
  void get(std::string& field) { get_list(field); }
  template <class T, std::size_t kCount>
  void get(std::array<T, kCount>& field) {
    for (T& element : field)
      get(element);
  }
  template <class T>
  void get(std::vector<T>& field) {
    get_list(field);
  }
  template <class T>
  void get(std::optional<T>& field) {
    bool present = false;
    get(present);
    field.reset();
    if (present) get(field.emplace());
  }
  template <class T>
  requires std::is_class_v<T>
  void get(T& field) { describe(*this, field); }

  // A list grows as its elements arrive: a wrong count can not take more memory than the bytes
  // that are there.
  template <class List>
  void get_list(List& list) {
    std::uint32_t count = 0;
    get(count);
    list.clear();
    for (std::uint32_t i = 0; i < count && left() != 0; ++i) {
      typename List::value_type element{};
      get(element);
      list.push_back(std::move(element));
    }
    if (list.size() != count) fail();
  }

  ConstBytes bytes_;
  std::size_t position_ = 0;
  bool failed_ = false;
};

}  // namespace snowglobe::base
