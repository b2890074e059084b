// cli/format_records.cc - a result with a record below the other, the way psql draws it.
#include "cli/format_table.h"
#include "cli/terminal.h"
#include <algorithm>
#include <fmt/format.h>
#include <ostream>

namespace snowglobe::cli {
namespace {

/// psql, print_aligned_vertical().
class Records {
 public:
  Records(std::ostream& out, const Grid& grid, const FormatOptions& options)
      : out_(out),
        grid_(grid),
        options_(options),
        strokes_(strokes(options.line_style)),
        border_(options.border) {
    for (std::size_t c = 0; c < grid.headers.size(); ++c) {
      name_ = std::max(name_, grid.header_widths[c]);
      long_names_ = long_names_ || grid.headers[c].size() > 1;
      for (const auto& row : grid.rows) {
        value_ = std::max(value_, width_of(row[c]));
        long_values_ = long_values_ || row[c].size() > 1;
      }
    }
    choose_width();
  }

  void print() {
    for (std::size_t r = 0; r < grid_.rows.size(); ++r) {
      const Strokes::Rule& ends = r == 0 ? strokes_.top : strokes_.between;
      if (!options_.tuples_only) {
        rule(ends,
             fmt::format(fmt::runtime(border_ == 0 ? "* Record {}" : "[ RECORD {} ]"), r + 1));
      } else if (r > 0 || border_ == 2) {
        rule(ends, {});
      }
      for (std::size_t c = 0; c < grid_.headers.size(); ++c)
        field(grid_.headers[c], grid_.rows[r][c]);
    }
    if (border_ == 2) rule(strokes_.bottom, {});
  }

 private:
  /// The width of values: theirs, but enough for the line above a record, and no more than there
  /// is.
  void choose_width() {
    std::size_t around = border_ == 0 ? 1 : border_ == 1 ? 3 : 7;
    if (border_ == 0 && long_names_) ++around;
    if (long_values_ && border_ < 2) ++around;  // for the mark behind a line that goes on
    std::size_t rule = 0;
    if (!options_.tuples_only)
      rule = std::to_string(grid_.rows.size()).size() + (border_ == 0 ? 9 : border_ == 1 ? 12 : 15);
    const std::size_t room = options_.format == Format::wrapped ? options_.columns : 0;
    for (;;) {
      const std::size_t wanted = std::max(name_ + around + value_, rule);
      const std::size_t least = std::max(name_ + around + 3, rule);
      std::size_t whole = wanted;
      if (room > 0 && room < wanted) whole = std::max(room, least);
      const std::size_t width = whole - name_ - around;
      if (width >= value_ || long_values_ || border_ == 2) {
        value_ = width;
        return;
      }
      long_values_ = true;
      ++around;
    }
  }

  void rule(const Strokes::Rule& ends, const std::string& label) {
    const std::string_view line = border_ > 0 ? strokes_.line : " ";
    std::string text = border_ == 2 ? fmt::format("{}{}", ends.left, line) : std::string();
    if (border_ == 1) text += line;
    text += label;
    // Where the bar of the lines below stands, unless the label reaches beyond.
    const std::size_t used = label.size() + (border_ == 2 ? 0 : 1);
    std::size_t over = used > name_ ? used - name_ : 0;
    if (used < name_) text += repeated(line, name_ - used);
    const auto unless_over = [&](std::string_view stroke) {
      if (over == 0) {
        text += stroke;
      } else {
        --over;
      }
    };
    if (border_ == 0) {
      unless_over(" ");
    } else {
      unless_over(line);
      unless_over(ends.middle);
      unless_over(line);
    }
    if (over < value_) text += repeated(line, value_ - over);
    if (border_ == 2) text += fmt::format("{}{}", line, ends.right);
    out_ << text << '\n';
  }

  void field(const Lines& header, const Lines& value) {
    std::size_t line = 0, row = 0, offset = 0;
    while (line < header.size() || row < value.size()) {
      name(header, line++);
      if (border_ > 0) out_ << strokes_.bar;
      if (row >= value.size()) {
        if (border_ == 2) out_ << spaces(value_ + 2) << strokes_.bar;
        out_ << '\n';
        continue;
      }
      out_ << (offset > 0 ? strokes_.cut : " ");
      const std::string_view text = std::string_view(value[row]).substr(offset);
      const Fitting fits = fitting(text, value_);
      const bool cut = fits.bytes < text.size(), goes_on = row + 1 < value.size();
      out_ << text.substr(0, fits.bytes);
      const bool marked = (cut || goes_on) && (border_ == 2 || long_values_);
      if (marked || border_ == 2) out_ << spaces(value_ - std::min(value_, fits.width));
      if (marked) out_ << (cut ? strokes_.cut : strokes_.goes_on);
      if (!marked && border_ == 2) out_ << ' ';
      if (border_ == 2) out_ << strokes_.bar;
      out_ << '\n';
      offset = cut ? offset + fits.bytes : 0;
      if (!cut) ++row;
    }
  }

  void name(const Lines& header, std::size_t line) {
    const bool spaced = border_ > 0 || long_names_;
    if (border_ == 2) out_ << strokes_.bar;
    if (line >= header.size()) {
      out_ << spaces(name_ + border_ + (border_ == 0 && long_names_ ? 1 : 0));
      return;
    }
    if (border_ == 2) out_ << ' ';
    out_ << header[line] << spaces(name_ - display_width(header[line]));
    if (spaced) out_ << (line + 1 < header.size() ? strokes_.goes_on : " ");
  }

  std::ostream& out_;
  const Grid& grid_;
  const FormatOptions& options_;
  const Strokes& strokes_;
  unsigned border_;
  std::size_t name_ = 0, value_ = 0;  // widths
  bool long_names_ = false, long_values_ = false;
};

}  // namespace

void print_records(std::ostream& out, const Sheet& sheet, const Grid& grid,
                   const FormatOptions& options) {
  if (!options.title.empty() && !options.tuples_only && !grid.rows.empty())
    out << options.title << '\n';
  if (!grid.rows.empty()) Records(out, grid, options).print();
  const auto footers = footers_of(sheet, options, grid.rows.empty());
  if (!footers.empty() && !grid.rows.empty() && options.border < 2) out << '\n';
  for (const std::string& line : footers)
    out << line << '\n';
}

}  // namespace snowglobe::cli
