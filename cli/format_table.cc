// cli/format_table.cc - a result as a table, the way psql draws it: columns side by side, or a
// record below the other.
#include "cli/format_table.h"

#include "cli/terminal.h"
#include <algorithm>
#include <fmt/format.h>
#include <ostream>
#include <vector>

namespace snowglobe::cli {
namespace {

/// Lines of a value; a tab or another control character must not move the columns.
std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines(1);
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

std::size_t width_of(const std::vector<std::string>& lines) {
  std::size_t width = 0;
  for (const std::string& line : lines)
    width = std::max(width, display_width(line));
  return width;
}

std::string spaces(std::size_t count) {
  return std::string(count, ' ');
}

/// All values of a result, cut into lines and measured once.
class Grid {
 public:
  Grid(const Result& result, const FormatOptions& options) : result_(result) {
    for (const Column& column : result.columns()) {
      headers_.push_back(lines_of(column.name));
      widths_.push_back(width_of(headers_.back()));
    }
    for (std::size_t r = 0; r < result.size(); ++r) {
      std::vector<std::vector<std::string>> row;
      for (std::size_t c = 0; c < headers_.size(); ++c) {
        row.push_back(lines_of(result.text(r, c).value_or(options.null)));
        widths_[c] = std::max(widths_[c], width_of(row.back()));
      }
      rows_.push_back(std::move(row));
    }
  }

  [[nodiscard]] std::size_t total_width() const {
    std::size_t width = 1;
    for (const std::size_t each : widths_)
      width += each + 3;
    return width;
  }

  void print_across(std::ostream& out, const FormatOptions& options) const {
    if (!options.title.empty()) {
      const std::size_t wide = total_width() - 2, title = display_width(options.title);
      out << spaces(wide > title ? (wide - title) / 2 : 0) << options.title << '\n';
    }
    if (!options.tuples_only) {
      print_line(out, headers_, Align::center);
      for (std::size_t c = 0; c < widths_.size(); ++c)
        out << (c == 0 ? "" : "+") << std::string(widths_[c] + 2, '-');
      out << '\n';
    }
    for (const auto& row : rows_)
      print_line(out, row, Align::by_type);
    print_footers(out, options);
  }

  void print_down(std::ostream& out, const FormatOptions& options) const {
    if (rows_.empty() && !options.tuples_only) out << "(0 rows)\n";
    std::size_t name = 0, value = 0;
    for (std::size_t c = 0; c < headers_.size(); ++c) {
      name = std::max(name, width_of(headers_[c]));
      for (const auto& row : rows_)
        value = std::max(value, width_of(row[c]));
    }
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      print_record_rule(out, r + 1, name, value, options);
      for (std::size_t c = 0; c < headers_.size(); ++c)
        print_field(out, headers_[c], rows_[r][c], name);
    }
    if (options.footers) print_footers(out, options);
  }

 private:
  void print_footers(std::ostream& out, const FormatOptions& options) const {
    if (options.tuples_only) return;
    if (!options.footers) out << row_count(rows_.size()) << '\n';
    for (const std::string& line : options.footers.value_or(std::vector<std::string>()))
      out << line << '\n';
  }

  enum class Align : std::uint8_t { center, by_type };

  // psql ends a line of a value that goes on below with "+" in place of the space before the bar.
  void print_line(std::ostream& out, const std::vector<std::vector<std::string>>& cells,
                  Align align) const {
    std::size_t height = 1;
    for (const auto& cell : cells)
      height = std::max(height, cell.size());
    for (std::size_t line = 0; line < height; ++line) {
      for (std::size_t c = 0; c < cells.size(); ++c) {
        const std::string text = line < cells[c].size() ? cells[c][line] : std::string();
        const std::size_t pad = widths_[c] - display_width(text);
        // Behind the last line of a value at the end of the row there is nothing, as in psql.
        const bool past = line >= cells[c].size() && c + 1 == cells.size();
        const std::size_t before = past                                           ? 0
                                   : align == Align::center                       ? pad / 2
                                   : right_aligned(result_.columns()[c].type_oid) ? pad
                                                                                  : 0;
        const bool goes_on = line + 1 < cells[c].size();
        const bool last = c + 1 == cells.size();
        out << ' ' << spaces(before) << text;
        if (!last || goes_on || align == Align::center) out << spaces(pad - before);
        if (goes_on)
          out << '+';
        else if (!last || align == Align::center)
          out << ' ';
        if (!last) out << '|';
      }
      out << '\n';
    }
  }

  static void print_record_rule(std::ostream& out, std::size_t record, std::size_t name,
                                std::size_t value, const FormatOptions& options) {
    if (options.tuples_only) {
      if (record > 1) out << '\n';
      return;
    }
    std::string rule = fmt::format("-[ RECORD {} ]", record);
    const std::size_t width = name + 1;  // where the "+" stands above the bars
    if (rule.size() < width) rule.append(width - rule.size(), '-');
    if (rule.size() == width) rule += '+';
    const std::size_t whole = name + 3 + value;
    if (rule.size() < whole) rule.append(whole - rule.size(), '-');
    out << rule << '\n';
  }

  static void print_field(std::ostream& out, const std::vector<std::string>& header,
                          const std::vector<std::string>& value, std::size_t name) {
    const std::size_t height = std::max(header.size(), value.size());
    for (std::size_t line = 0; line < height; ++line) {
      const std::string left = line < header.size() ? header[line] : std::string();
      out << left << spaces(name - display_width(left)) << " | ";
      if (line < value.size()) out << value[line];
      if (line + 1 < value.size()) out << '+';
      out << '\n';
    }
  }

  const Result& result_;
  std::vector<std::vector<std::string>> headers_;
  std::vector<std::vector<std::vector<std::string>>> rows_;
  std::vector<std::size_t> widths_;
};

}  // namespace

std::string row_count(std::size_t rows) {
  return fmt::format("({} {})", rows, rows == 1 ? "row" : "rows");
}

void print_table(std::ostream& out, const Result& result, const FormatOptions& options) {
  if (result.columns().empty()) {
    if (!options.tuples_only) out << "--\n" << row_count(result.size()) << '\n';
    return;
  }
  const Grid grid(result, options);
  const bool down = options.expanded == Expanded::on ||
                    (options.expanded == Expanded::automatic && options.columns > 0 &&
                     grid.total_width() - 1 > options.columns);
  if (down) {
    grid.print_down(out, options);
  } else {
    grid.print_across(out, options);
  }
}

}  // namespace snowglobe::cli
