// api/src/array_text.cc - arrays as text, both ways (PostgreSQL's documentation, 8.15.2
// and 8.15.6).
#include <snowglobe/convert.hpp>
#include <snowglobe/error.hpp>
#include <snowglobe/types.hpp>

namespace snowglobe::detail {

void append_array_element(std::string& out, std::string_view text, bool binary) {
  out += '"';
  if (binary) {
    constexpr char kDigits[] = "0123456789abcdef";
    out += "\\\\x";
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  } else {
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  out += '"';
}

ArrayReader::ArrayReader(const Cell& cell) : cell_(cell), left_(cell.text()) {
  // "[0:2]={1,2,3}" says where the indices begin, which a vector does not know.
  if (left_.starts_with('[')) {
    const std::size_t end = left_.find('=');
    if (end == std::string_view::npos) malformed();
    left_.remove_prefix(end + 1);
  }
}

void ArrayReader::malformed() const {
  throw_conversion(cell_, "an array of this depth");
}

void ArrayReader::enter() {
  if (!left_.starts_with('{')) malformed();
  left_.remove_prefix(1);
  first_ = true;
}

bool ArrayReader::more() {
  if (left_.empty()) malformed();
  if (left_.front() == '}') {
    left_.remove_prefix(1);
    first_ = false;
    return false;
  }
  if (!first_) {
    if (left_.front() != ',') malformed();
    left_.remove_prefix(1);
  }
  first_ = false;
  return true;
}

Cell ArrayReader::element() {
  element_.clear();
  if (left_.empty() || left_.front() == '{') malformed();
  const bool quoted = left_.front() == '"';
  if (quoted) {
    read_quoted();
  } else {
    read_plain();
  }
  Cell cell{element_.data(), element_.size(), 0, cell_.column};
  if (!quoted && element_ == "NULL") cell.data = nullptr;
  return cell;
}

void ArrayReader::read_quoted() {
  for (std::size_t i = 1; i < left_.size(); ++i) {
    if (left_[i] == '"') {
      left_.remove_prefix(i + 1);
      return;
    }
    if (left_[i] == '\\' && ++i == left_.size()) break;
    element_ += left_[i];
  }
  malformed();
}

void ArrayReader::read_plain() {
  const std::size_t end = left_.find_first_of(",{}\"");
  if (end == 0 || end == std::string_view::npos) malformed();
  element_ = left_.substr(0, end);
  left_.remove_prefix(end);
}

void ArrayReader::finish() const {
  if (!left_.empty()) malformed();
}

}  // namespace snowglobe::detail
