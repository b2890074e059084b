// api/src/result.cc - Result over libpq's result, and the conversions that are not templates.
#include "api/src/result_data.h"
#include <snowglobe/error.hpp>
#include <snowglobe/result.hpp>

#include <cstdlib>

namespace snowglobe {
inline namespace v1 {
namespace detail {

ResultData::ResultData(PqResult result)
    : result_(std::move(result)), rows_(static_cast<std::size_t>(PQntuples(result_.get()))) {
  const int count = PQnfields(result_.get());
  columns_.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    columns_.push_back(
        {PQfname(result_.get(), i), PQftype(result_.get(), i), PQftable(result_.get(), i)});
  }
}

void throw_null(const Cell& cell) {
  throw ConversionError(std::string("column \"") + cell.column +
                        "\" is NULL; read it as a std::optional");
}

void throw_conversion(const Cell& cell, const char* wanted) {
  constexpr std::size_t kShown = 40;
  std::string value(cell.text().substr(0, kShown));
  if (cell.size > kShown) value += "...";
  throw ConversionError(std::string("column \"") + cell.column + "\" holds '" + value +
                        "', which is not " + wanted + " in range");
}

void throw_user_conversion(const Cell& cell, const char* why) {
  throw ConversionError(std::string("column \"") + cell.column + "\": " + why);
}

void throw_bad_value(const char* what) {
  throw InvalidArgument(what);
}

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

// PostgreSQL 8.4.1, "bytea Hex Format": every connection of ours has bytea_output = hex.
Bytes decode_bytea(const Cell& cell) {
  const std::string_view text = cell.text();
  if (text.size() % 2 != 0 || text.substr(0, 2) != "\\x") throw_conversion(cell, "a bytea");
  Bytes bytes(text.size() / 2 - 1);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const int value = hex_digit(text[2 + 2 * i]) << 4 | hex_digit(text[3 + 2 * i]);
    if (value < 0) throw_conversion(cell, "a bytea");
    bytes[i] = static_cast<std::byte>(value);
  }
  return bytes;
}

Uuid decode_uuid(const Cell& cell) {
  try {
    return Uuid::parse(cell.text());
  } catch (const InvalidArgument&) {
    throw_conversion(cell, "a uuid");
  }
}

}  // namespace detail

std::string Uuid::to_string() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    const auto byte = static_cast<unsigned>(bytes[i]);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

Uuid Uuid::parse(std::string_view text) {
  Uuid uuid;
  const std::string_view all = text;
  for (std::size_t i = 0; i < uuid.bytes.size(); ++i) {
    if ((i == 4 || i == 6 || i == 8 || i == 10) && text.starts_with('-')) text.remove_prefix(1);
    const int value =
        text.size() < 2 ? -1 : detail::hex_digit(text[0]) << 4 | detail::hex_digit(text[1]);
    if (value < 0) throw InvalidArgument("'" + std::string(all.substr(0, 40)) + "' is not a uuid");
    uuid.bytes[i] = static_cast<std::byte>(value);
    text.remove_prefix(2);
  }
  if (!text.empty() || all.size() != 36) {
    throw InvalidArgument("'" + std::string(all.substr(0, 40)) + "' is not a uuid");
  }
  return uuid;
}

Result::Result() noexcept = default;

std::size_t Result::size() const noexcept {
  return data_ ? data_->rows() : 0;
}

std::span<const Column> Result::columns() const noexcept {
  if (!data_) return {};
  return data_->columns();
}

std::size_t Result::column(std::string_view name) const {
  const std::span<const Column> all = columns();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].name == name) return i;
  }
  throw InvalidArgument("the result has no column \"" + std::string(name) + "\"");
}

std::uint64_t Result::affected() const noexcept {
  if (!data_) return 0;
  // libpq's signature lacks the const.
  return std::strtoull(PQcmdTuples(const_cast<PGresult*>(data_->get())), nullptr, 10);
}

std::string_view Result::command() const noexcept {
  return data_ ? PQcmdStatus(const_cast<PGresult*>(data_->get())) : "";
}

Row Result::operator[](std::size_t row) const {
  if (row >= size()) {
    throw InvalidArgument("row " + std::to_string(row) + " of a result with " +
                          std::to_string(size()));
  }
  return {*this, row};
}

std::optional<std::string_view> Result::text(std::size_t row, std::size_t column) const {
  const detail::Cell value = cell(row, column);
  if (value.data == nullptr) return std::nullopt;
  return value.text();
}

detail::Cell Result::cell(std::size_t row, std::size_t column) const {
  if (row >= size() || column >= columns().size()) {
    throw InvalidArgument("row " + std::to_string(row) + ", column " + std::to_string(column) +
                          " of a result with " + std::to_string(size()) + " rows of " +
                          std::to_string(columns().size()) + " columns");
  }
  const PGresult* result = data_->get();
  const Column& about = data_->columns()[column];
  const int r = static_cast<int>(row);
  const int c = static_cast<int>(column);
  const char* data = PQgetvalue(result, r, c);
  const auto size = static_cast<std::size_t>(PQgetlength(result, r, c));
  // An empty string's pointer is not null, so that null can stand for NULL.
  if (size == 0 && PQgetisnull(result, r, c) != 0) data = nullptr;
  return {data, size, about.type_oid, about.name.c_str()};
}

void Result::require_columns(std::size_t count) const {
  if (columns().size() != count) {
    throw InvalidArgument("the statement gave " + std::to_string(columns().size()) +
                          " columns, and " + std::to_string(count) + " were asked for");
  }
}

void Result::require_rows(std::size_t least, std::size_t most) const {
  if (size() >= least && size() <= most) return;
  const char* wanted = least == most ? "exactly one row" : "at most one row";
  throw InvalidArgument("the statement gave " + std::to_string(size()) + " rows, and " + wanted +
                        " was asked for");
}

}  // namespace v1
}  // namespace snowglobe
