// cli/format.h - results of statements as text: tables as psql draws them, CSV, HTML, JSON.
#pragma once

#include <snowglobe/result.hpp>

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::cli {

/// wrapped: aligned, with values cut so that the table fits the terminal.
enum class Format : std::uint8_t { aligned, wrapped, unaligned, csv, html, json };
enum class Expanded : std::uint8_t { off, on, automatic };  ///< automatic: if it is too wide
enum class LineStyle : std::uint8_t { ascii, unicode };
enum class Pager : std::uint8_t { never, long_output, always };

struct FormatOptions {
  Format format = Format::aligned;
  Expanded expanded = Expanded::off;
  LineStyle line_style = LineStyle::ascii;
  unsigned border = 1;          ///< 0: no lines, 1: between columns, 2: around the table as well
  bool tuples_only = false;     ///< no header, no count of rows
  bool count = true;            ///< of rows, below them
  std::string null = {};        ///< what stands for NULL, but in JSON
  std::string separator = "|";  ///< of columns of unaligned output; may be a zero byte
  std::string record_separator = "\n";
  std::string csv_separator = ",";
  std::string title = {};
  std::optional<std::vector<std::string>> footers = {};  ///< lines in place of the count of rows
  Pager pager = Pager::long_output;
  std::size_t columns = 0;  ///< to fit in, for Expanded::automatic and Format::wrapped; 0: any
};

/// Whether it is drawn, and ends with a blank line for people.
[[nodiscard]] inline bool is_table(const FormatOptions& options) {
  return options.format == Format::aligned || options.format == Format::wrapped;
}

/// What is printed: a result, or what a command has made of one.
struct Sheet {
  std::vector<Column> columns;
  std::size_t rows = 0;
  /// NULL is nothing. The text lives as long as the sheet.
  std::function<std::optional<std::string_view>(std::size_t row, std::size_t column)> text;
};
[[nodiscard]] Sheet sheet_of(const Result& result);

/// The rows; nothing for a sheet without columns and rows.
void print_rows(std::ostream& out, const Sheet& sheet, const FormatOptions& options);

/// One value as `to_json` of PostgreSQL would have it: numbers, booleans and JSON as themselves,
/// all else as a string.
[[nodiscard]] std::string json_value(std::string_view text, std::uint32_t type_oid);

/// Whether values of a type stand at the right of their column, as numbers do.
[[nodiscard]] bool right_aligned(std::uint32_t type_oid);

/// Lines below the rows: those of the options, else the count of rows, as "(3 rows)". A record
/// below the other is not counted, unless there is none.
[[nodiscard]] std::vector<std::string> footers_of(const Sheet& sheet, const FormatOptions& options,
                                                  bool counted = true);

}  // namespace snowglobe::cli
