// cli/format.cc - results of statements as text: unaligned, CSV, JSON; format_table.cc has tables,
// format_html.cc has HTML.
#include "cli/format.h"

#include "cli/format_table.h"
#include "cli/json.h"
#include <fmt/format.h>
#include <ostream>
#include <utility>

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

std::string csv_field(std::string_view text, std::string_view separator) {
  // As psql: what could be taken for something else is quoted.
  const bool plain = text != "\\." && text.find_first_of("\"\r\n") == std::string_view::npos &&
                     text.find(separator) == std::string_view::npos;
  if (plain) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string_view value_or_null(const Sheet& sheet, std::size_t row, std::size_t column,
                               const FormatOptions& options) {
  return sheet.text(row, column).value_or(options.null);
}

void print_csv(std::ostream& out, const Sheet& sheet, const FormatOptions& options) {
  const auto field = [&](std::string_view text) { return csv_field(text, options.csv_separator); };
  const bool down = options.expanded == Expanded::on;
  const std::size_t columns = sheet.columns.size();
  if (!options.tuples_only && !down) {
    for (std::size_t c = 0; c < columns; ++c)
      out << (c == 0 ? "" : options.csv_separator) << field(sheet.columns[c].name);
    out << '\n';
  }
  for (std::size_t r = 0; r < sheet.rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      if (down) {
        out << field(sheet.columns[c].name) << options.csv_separator;
      } else {
        out << (c == 0 ? "" : options.csv_separator);
      }
      out << field(value_or_null(sheet, r, c, options)) << (down ? "\n" : "");
    }
    if (!down) out << '\n';
  }
}

/// Records between separators; the last one ends with a newline, or with a zero byte if that is
/// what separates, for `xargs -0`.
class Unaligned {
 public:
  Unaligned(std::ostream& out, const FormatOptions& options) : out_(out), options_(options) {}
  ~Unaligned() {
    if (begun_) out_ << (options_.record_separator == kZero ? kZero : "\n");
  }
  Unaligned(const Unaligned&) = delete;
  Unaligned& operator=(const Unaligned&) = delete;
  std::ostream& record() {
    if (std::exchange(begun_, true)) out_ << options_.record_separator;
    return out_;
  }

 private:
  inline static const std::string kZero = std::string(1, '\0');
  std::ostream& out_;
  const FormatOptions& options_;
  bool begun_ = false;
};

void print_unaligned(std::ostream& out, const Sheet& sheet, const FormatOptions& options) {
  Unaligned records(out, options);
  const std::size_t columns = sheet.columns.size();
  if (!options.tuples_only && !options.title.empty()) records.record() << options.title;
  if (!options.tuples_only) {
    std::ostream& line = records.record();
    for (std::size_t c = 0; c < columns; ++c)
      line << (c == 0 ? "" : options.separator) << sheet.columns[c].name;
  }
  for (std::size_t r = 0; r < sheet.rows && columns > 0; ++r) {
    std::ostream& line = records.record();
    for (std::size_t c = 0; c < columns; ++c)
      line << (c == 0 ? "" : options.separator) << value_or_null(sheet, r, c, options);
  }
  for (const std::string& line : footers_of(sheet, options))
    records.record() << line;
}

void print_unaligned_records(std::ostream& out, const Sheet& sheet, const FormatOptions& options) {
  Unaligned records(out, options);
  bool apart = false;  // from what stands above, by an empty record
  if (!options.tuples_only && !options.title.empty()) {
    records.record() << options.title;
    apart = true;
  }
  for (std::size_t r = 0; r < sheet.rows; ++r) {
    if (std::exchange(apart, true)) records.record();
    for (std::size_t c = 0; c < sheet.columns.size(); ++c)
      records.record() << sheet.columns[c].name << options.separator
                       << value_or_null(sheet, r, c, options);
  }
  const auto footers = footers_of(sheet, options, false);
  if (!footers.empty() && apart) records.record();
  for (const std::string& line : footers)
    records.record() << line;
}

void print_objects(std::ostream& out, const Sheet& sheet) {
  std::vector<std::string> keys;
  for (const Column& column : sheet.columns)
    keys.push_back(json_quoted(column.name));
  out << '[';
  for (std::size_t r = 0; r < sheet.rows; ++r) {
    out << (r == 0 ? "{" : ",\n {");
    for (std::size_t c = 0; c < keys.size(); ++c) {
      const auto text = sheet.text(r, c);
      out << (c == 0 ? "" : ", ") << keys[c] << ": "
          << (text ? json_value(*text, sheet.columns[c].type_oid) : "null");
    }
    out << '}';
  }
  out << "]\n";
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

std::vector<std::string> footers_of(const Sheet& sheet, const FormatOptions& options,
                                    bool counted) {
  if (options.tuples_only) return {};
  if (options.footers) return *options.footers;
  if (!options.count || !counted) return {};
  return {fmt::format("({} {})", sheet.rows, sheet.rows == 1 ? "row" : "rows")};
}

Sheet sheet_of(const Result& result) {
  const auto columns = result.columns();
  return {{columns.begin(), columns.end()}, result.size(), [result](std::size_t r, std::size_t c) {
            return result.text(r, c);
          }};
}

void print_rows(std::ostream& out, const Sheet& sheet, const FormatOptions& options) {
  switch (options.format) {
    case Format::aligned:
    case Format::wrapped:
      print_table(out, sheet, options);
      return;
    case Format::unaligned:
      if (options.expanded == Expanded::on) {
        print_unaligned_records(out, sheet, options);
      } else {
        print_unaligned(out, sheet, options);
      }
      return;
    case Format::csv:
      print_csv(out, sheet, options);
      return;
    case Format::html:
      print_html(out, sheet, options);
      return;
    case Format::json:
      print_objects(out, sheet);
      return;
  }
}

}  // namespace snowglobe::cli
