// api/src/copy.cc - rows as COPY's text format writes them (PostgreSQL documentation, COPY, "Text
// Format").
#include "api/src/connection.h"

#include <array>
#include <cstring>

namespace snowglobe {
inline namespace v1 {
namespace {

// One message a row would cost a system call a row.
constexpr std::size_t kSendAt = 1 << 16;

void append_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    switch (c) {
      case '\\':
        out += "\\\\";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        out += c;
    }
  }
}

void append_hex(std::string& out, std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  out += "\\\\x";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
}

char unescape(char letter) {
  switch (letter) {
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'v':
      return '\v';
    default:
      return letter;  // COPY TO writes no octal or hexadecimal escapes
  }
}

}  // namespace

CopyWriter::CopyWriter(std::shared_ptr<detail::Connection> connection, std::string_view sql)
    : connection_(std::move(connection)) {
  if (!connection_) throw InvalidArgument("this session is moved from");
  connection_->copy_in_begin(sql);
}

CopyWriter::~CopyWriter() {
  if (connection_) connection_->copy_in_abort();
}

void CopyWriter::send() {
  if (!connection_) throw InvalidArgument("this COPY is finished");
  if (!buffer_.empty()) connection_->copy_in_data(buffer_);
  buffer_.clear();
}

void CopyWriter::raw(std::string_view data) {
  if (!connection_) throw InvalidArgument("this COPY is finished");
  // libpq takes an int as length, and a piece must fit its buffer.
  constexpr std::size_t kPiece = 1 << 20;
  while (!data.empty()) {
    const std::string_view piece = data.substr(0, kPiece);
    buffer_.append(piece);
    data.remove_prefix(piece.size());
    if (buffer_.size() >= kSendAt) send();
  }
}

void CopyWriter::add_row(std::span<const Parameter> values) {
  if (!connection_) throw InvalidArgument("this COPY is finished");
  const std::size_t start = buffer_.size();
  bool first = true;
  for (const Parameter& value : values) {
    if (!first) buffer_ += '\t';
    first = false;
    const std::string_view data = value.data();
    if (value.is_null()) {
      buffer_ += "\\N";
    } else if (value.is_binary()) {
      append_hex(buffer_, data);
    } else if (data.find('\0') != std::string_view::npos) {
      buffer_.resize(start);
      throw InvalidArgument("a text value of the row has a NUL byte; send it as Bytes");
    } else {
      append_escaped(buffer_, data);
    }
  }
  buffer_ += '\n';
  if (buffer_.size() >= kSendAt) send();
}

std::uint64_t CopyWriter::finish() {
  send();
  const std::shared_ptr<detail::Connection> connection = std::move(connection_);
  connection_ = nullptr;
  return connection->copy_in_end();
}

CopyReader::CopyReader(std::shared_ptr<detail::Connection> connection, std::string_view sql)
    : connection_(std::move(connection)) {
  if (!connection_) throw InvalidArgument("this session is moved from");
  connection_->copy_out_begin(sql);
}

CopyReader::~CopyReader() {
  if (connection_) connection_->copy_out_abort();
}

std::optional<std::string_view> CopyReader::raw() {
  if (!connection_) return std::nullopt;
  const std::shared_ptr<detail::Connection> connection = connection_;
  bool more = false;
  try {
    more = connection->copy_out_next(piece_);
  } catch (...) {
    connection_.reset();  // the copy is over, and so is the reader
    throw;
  }
  if (!more) {
    connection_.reset();
    return std::nullopt;
  }
  return std::string_view(piece_.data(), piece_.size());
}

bool CopyReader::read_row(std::size_t columns) {
  const std::optional<std::string_view> piece = raw();
  if (!piece) return false;
  std::string_view line = *piece;
  if (line.ends_with('\n')) line.remove_suffix(1);
  cells_.clear();
  unescaped_.clear();
  unescaped_.reserve(line.size());  // unescaping only shrinks: cells point into it
  for (;;) {
    const std::size_t end = line.find('\t');
    const std::string_view field = line.substr(0, end);
    detail::Cell cell;
    cell.column = "of a COPY";
    if (field != "\\N") {
      const std::size_t start = unescaped_.size();
      for (std::size_t i = 0; i < field.size(); ++i) {
        const bool escape = field[i] == '\\' && i + 1 < field.size();
        unescaped_ += escape ? unescape(field[++i]) : field[i];
      }
      cell.data = unescaped_.data() + start;
      cell.size = unescaped_.size() - start;
    }
    cells_.push_back(cell);
    if (end == std::string_view::npos) break;
    line.remove_prefix(end + 1);
  }
  if (cells_.size() != columns) {
    throw InvalidArgument("the COPY gave " + std::to_string(cells_.size()) + " columns, and " +
                          std::to_string(columns) + " were asked for");
  }
  return true;
}

}  // namespace v1
}  // namespace snowglobe
