// api/src/agent_wire.h - fields of the agent's frames: writing, and reading with checks.
#pragma once

#include "base/bytes.h"
#include <snowglobe/export.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::detail {

class WireWriter {
 public:
  template <class T>
  WireWriter& number(T value) {
    std::uint8_t bytes[sizeof(T)];
    base::store_le(bytes, value);
    for (const std::uint8_t byte : bytes)
      out_ += static_cast<char>(byte);
    return *this;
  }
  WireWriter& string(std::string_view text) {
    number(static_cast<std::uint32_t>(text.size()));
    out_ += text;
    return *this;
  }
  WireWriter& list(const std::vector<std::string>& strings) {
    number(static_cast<std::uint16_t>(strings.size()));
    for (const std::string& text : strings)
      string(text);
    return *this;
  }
  WireWriter& raw(std::string_view bytes) {
    out_ += bytes;
    return *this;
  }
  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

/// A whole frame, either way.
inline std::string agent_frame(std::uint32_t id, std::uint16_t type, std::string_view payload) {
  return WireWriter()
      .number(static_cast<std::uint32_t>(payload.size()))
      .number(id)
      .number(type)
      .number(std::uint16_t{0})
      .raw(payload)
      .take();
}

/// Reads fields in order; what is not there makes it fail, and everything after.
class WireReader {
 public:
  explicit WireReader(base::ConstBytes data) : data_(data) {}

  template <class T>
  T number() {
    if (data_.size() < sizeof(T)) {
      ok_ = false;
      data_ = {};
      return T{};
    }
    const T value = base::load_le<T>(data_.data());
    data_ = data_.subspan(sizeof(T));
    return value;
  }
  std::string string() {
    const auto length = number<std::uint32_t>();
    if (!ok_ || length > data_.size()) {
      ok_ = false;
      return {};
    }
    std::string text(data_.begin(), data_.begin() + length);
    data_ = data_.subspan(length);
    return text;
  }
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  base::ConstBytes data_;
  bool ok_ = true;
};

}  // namespace snowglobe::detail
