// cli/format_html.cc - a result as an HTML table, as psql's \H writes it.
#include "cli/format_table.h"
#include <fmt/format.h>
#include <ostream>

namespace snowglobe::cli {
namespace {

std::string escaped(std::string_view text) {
  std::string html;
  bool leading = true;  // plans of EXPLAIN keep their indents
  for (const char c : text) {
    if (c != ' ') leading = false;
    switch (c) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '"':
        html += "&quot;";
        break;
      case '\n':
        html += "<br />\n";
        break;
      case ' ':
        html += leading ? "&nbsp;" : " ";
        break;
      default:
        html += c;
    }
  }
  return html;
}

std::string cell(const Sheet& sheet, std::size_t row, std::size_t column,
                 const FormatOptions& options) {
  const std::string_view text = sheet.text(row, column).value_or(options.null);
  const bool blank = text.find_first_not_of(" \t") == std::string_view::npos;
  return fmt::format("    <td align=\"{}\">{}</td>\n",
                     right_aligned(sheet.columns[column].type_oid) ? "right" : "left",
                     blank ? "&nbsp; " : escaped(text));
}

void print_across(std::ostream& out, const Sheet& sheet, const FormatOptions& options) {
  if (!options.tuples_only) {
    out << "  <tr>\n";
    for (const Column& column : sheet.columns)
      out << "    <th align=\"center\">" << escaped(column.name) << "</th>\n";
    out << "  </tr>\n";
  }
  for (std::size_t r = 0; r < sheet.rows && !sheet.columns.empty(); ++r) {
    out << "  <tr valign=\"top\">\n";
    for (std::size_t c = 0; c < sheet.columns.size(); ++c)
      out << cell(sheet, r, c, options);
    out << "  </tr>\n";
  }
}

void print_down(std::ostream& out, const Sheet& sheet, const FormatOptions& options) {
  for (std::size_t r = 0; r < sheet.rows; ++r) {
    out << (options.tuples_only
                ? std::string("\n  <tr><td colspan=\"2\">&nbsp;</td></tr>\n")
                : fmt::format("\n  <tr><td colspan=\"2\" align=\"center\">Record {}</td></tr>\n",
                              r + 1));
    for (std::size_t c = 0; c < sheet.columns.size(); ++c)
      out << "  <tr valign=\"top\">\n    <th>" << escaped(sheet.columns[c].name) << "</th>\n"
          << cell(sheet, r, c, options) << "  </tr>\n";
  }
}

}  // namespace

void print_html(std::ostream& out, const Sheet& sheet, const FormatOptions& options) {
  const bool down = options.expanded == Expanded::on;
  out << fmt::format("<table border=\"{}\">\n", options.border);
  if (!options.tuples_only && !options.title.empty())
    out << "  <caption>" << escaped(options.title) << "</caption>\n";
  if (down) {
    print_down(out, sheet, options);
  } else {
    print_across(out, sheet, options);
  }
  out << "</table>\n";
  const auto footers = footers_of(sheet, options, !down);
  if (footers.empty()) return;
  out << "<p>";
  for (const std::string& line : footers)
    out << escaped(line) << "<br />\n";
  out << "</p>\n";
}

}  // namespace snowglobe::cli
