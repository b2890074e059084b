// cli/format_grid.cc - values of a table, cut into lines and measured; what tables are drawn with.
#include "cli/format_table.h"
#include "cli/terminal.h"
#include <algorithm>
#include <fmt/format.h>

namespace snowglobe::cli {
namespace {

/// Lines of a value; a tab or another control character must not move the columns.
Lines lines_of(std::string_view text) {
  Lines lines(1);
  for (const char c : text) {
    if (c == '\n') {
      lines.emplace_back();
    } else if (c == '\t') {
      lines.back().append(8 - display_width(lines.back()) % 8, ' ');
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      lines.back() += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      lines.back() += c;
    }
  }
  return lines;
}

constexpr Strokes kAscii = {.line = "-",
                            .top = {"+", "+", "+"},
                            .between = {"+", "+", "+"},
                            .bottom = {"+", "+", "+"},
                            .bar = "|",
                            .goes_on = "+",
                            .cut = "."};
constexpr Strokes kUnicode = {.line = "─",
                              .top = {"┌", "┬", "┐"},
                              .between = {"├", "┼", "┤"},
                              .bottom = {"└", "┴", "┘"},
                              .bar = "│",
                              .goes_on = "↵",
                              .cut = "…"};

}  // namespace

const Strokes& strokes(LineStyle style) {
  return style == LineStyle::unicode ? kUnicode : kAscii;
}

Fitting fitting(std::string_view text, std::size_t width) {
  Fitting fits;
  while (fits.bytes < text.size()) {
    std::size_t end = fits.bytes + 1;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
      ++end;
    const std::size_t more = display_width(text.substr(fits.bytes, end - fits.bytes));
    if (fits.width + more > width && fits.width != 0) break;
    fits = {end, fits.width + more};
  }
  return fits;
}

std::size_t width_of(const Lines& lines) {
  std::size_t width = 0;
  for (const std::string& line : lines)
    width = std::max(width, display_width(line));
  return width;
}

std::string repeated(std::string_view text, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i)
    all += text;
  return all;
}

Grid::Grid(const Sheet& sheet, const FormatOptions& options) {
  for (const Column& column : sheet.columns) {
    headers.push_back(lines_of(column.name));
    right.push_back(right_aligned(column.type_oid));
    header_widths.push_back(width_of(headers.back()));
  }
  widths = header_widths;
  for (std::size_t r = 0; r < sheet.rows; ++r) {
    std::vector<Lines> row;
    for (std::size_t c = 0; c < headers.size(); ++c) {
      row.push_back(lines_of(sheet.text(r, c).value_or(options.null)));
      widths[c] = std::max(widths[c], width_of(row.back()));
    }
    rows.push_back(std::move(row));
  }
}

}  // namespace snowglobe::cli
