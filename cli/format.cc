// cli/format.cc - results of statements as text: unaligned, CSV, JSON; format_table.cc has tables.
#include "cli/format.h"

#include "cli/format_table.h"
#include "cli/json.h"
#include <algorithm>
#include <ostream>

namespace snowglobe::cli {
namespace {

// Of pg_type.dat; they never change.
enum TypeOid : std::uint32_t {
  kBool = 16,
  kInt8 = 20,
  kInt2 = 21,
  kInt4 = 23,
  kOid = 26,
  kXid = 28,
  kCid = 29,
  kJson = 114,
  kFloat4 = 700,
  kFloat8 = 701,
  kMoney = 790,
  kNumeric = 1700,
  kJsonb = 3802,
  kXid8 = 5069,
};

std::string csv_field(std::string_view text) {
  // As psql: what could be taken for something else is quoted.
  if (!text.empty() && text != "\\." && text.find_first_of(",\"\r\n") == std::string_view::npos)
    return std::string(text);
  if (text.empty()) return {};
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

template <class Cell>
void print_separated(std::ostream& out, const Result& result, const FormatOptions& options,
                     std::string_view separator, const Cell& cell) {
  const auto columns = result.columns();
  const auto line = [&](const auto& text_of) {
    for (std::size_t c = 0; c < columns.size(); ++c)
      out << (c == 0 ? "" : separator) << text_of(c);
    out << '\n';
  };
  if (!options.tuples_only) line([&](std::size_t c) { return cell(columns[c].name); });
  for (std::size_t r = 0; r < result.size(); ++r)
    line([&](std::size_t c) { return cell(result.text(r, c).value_or(options.null)); });
}

void print_objects(std::ostream& out, const Result& result) {
  const auto columns = result.columns();
  std::vector<std::string> keys;
  for (const Column& column : columns)
    keys.push_back(json_quoted(column.name));
  out << '[';
  for (std::size_t r = 0; r < result.size(); ++r) {
    out << (r == 0 ? "{" : ",\n {");
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const auto text = result.text(r, c);
      out << (c == 0 ? "" : ", ") << keys[c] << ": "
          << (text ? json_value(*text, columns[c].type_oid) : "null");
    }
    out << '}';
  }
  out << "]\n";
}

void print_unaligned_records(std::ostream& out, const Result& result,
                             const FormatOptions& options) {
  const auto columns = result.columns();
  for (std::size_t r = 0; r < result.size(); ++r) {
    if (r > 0) out << '\n';
    for (std::size_t c = 0; c < columns.size(); ++c) {
      out << columns[c].name << options.separator << result.text(r, c).value_or(options.null)
          << '\n';
    }
  }
}

}  // namespace

bool right_aligned(std::uint32_t type_oid) {
  switch (type_oid) {
    case kInt2:
    case kInt4:
    case kInt8:
    case kOid:
    case kXid:
    case kXid8:
    case kCid:
    case kFloat4:
    case kFloat8:
    case kNumeric:
    case kMoney:
      return true;
    default:
      return false;
  }
}

std::string json_value(std::string_view text, std::uint32_t type_oid) {
  switch (type_oid) {
    case kBool:
      return text == "t" ? "true" : "false";
    case kInt2:
    case kInt4:
    case kInt8:
    case kOid:
      return std::string(text);
    case kFloat4:
    case kFloat8:
    case kNumeric:  // NaN and Infinity are no numbers in JSON
      return text.find_first_of("NIy") == std::string_view::npos ? std::string(text)
                                                                 : json_quoted(text);
    case kJson:
    case kJsonb:
      return std::string(text);
    default:
      return json_quoted(text);
  }
}

void print_rows(std::ostream& out, const Result& result, const FormatOptions& options) {
  switch (options.format) {
    case Format::aligned:
      print_table(out, result, options);
      return;
    case Format::unaligned:
      if (options.expanded == Expanded::on) {
        print_unaligned_records(out, result, options);
        return;
      }
      print_separated(out, result, options, options.separator,
                      [](std::string_view text) { return text; });
      if (!options.tuples_only) out << row_count(result.size()) << '\n';
      return;
    case Format::csv:
      print_separated(out, result, options, ",", csv_field);
      return;
    case Format::json:
      print_objects(out, result);
      return;
  }
}

}  // namespace snowglobe::cli
