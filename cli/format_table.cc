// cli/format_table.cc - a result as a table with its columns side by side, the way psql draws it.
#include "cli/format_table.h"

#include "cli/terminal.h"
#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <ostream>

namespace snowglobe::cli {
namespace {

/// What a table of these columns takes with its lines.
std::size_t total_width(const std::vector<std::size_t>& widths, unsigned border) {
  const std::size_t values = std::accumulate(widths.begin(), widths.end(), std::size_t{0});
  const std::size_t count = widths.size();
  if (border == 0) return values + count;
  return values + count * 3 + (border == 2 ? 1 : 0) - (border == 1 && count > 0 ? 1 : 0);
}

/// Takes from the column that is widest for what its values need on average, until all fit.
std::vector<std::size_t> wrapped_widths(const Grid& grid, const FormatOptions& options) {
  std::vector<std::size_t> widths = grid.widths;
  if (options.columns == 0 || total_width(grid.header_widths, options.border) > options.columns)
    return widths;
  std::vector<std::size_t> averages(widths.size());
  for (const auto& row : grid.rows)
    for (std::size_t c = 0; c < row.size(); ++c)
      averages[c] += width_of(row[c]);
  for (std::size_t& average : averages)
    average /= std::max<std::size_t>(grid.rows.size(), 1);
  for (std::size_t total = total_width(widths, options.border); total > options.columns; --total) {
    double worst = 0;
    std::size_t* column = nullptr;
    for (std::size_t c = 0; c < widths.size(); ++c) {
      if (averages[c] == 0 || widths[c] <= grid.header_widths[c]) continue;
      // The small share of the width settles between columns that are equally bad.
      const double ratio = static_cast<double>(widths[c]) / static_cast<double>(averages[c]) +
                           static_cast<double>(grid.widths[c]) * 0.01;
      if (ratio <= worst) continue;
      worst = ratio;
      column = &widths[c];
    }
    if (column == nullptr) break;
    --*column;
  }
  return widths;
}

/// Draws a grid whose columns have these widths.
class Table {
 public:
  Table(std::ostream& out, const Grid& grid, const FormatOptions& options,
        const std::vector<std::size_t>& widths)
      : out_(out),
        grid_(grid),
        strokes_(strokes(options.line_style)),
        border_(options.border),
        widths_(widths) {}

  void rule(const Strokes::Rule& ends) {
    if (border_ == 2) out_ << ends.left;
    if (border_ > 0) out_ << strokes_.line;
    for (std::size_t c = 0; c < widths_.size(); ++c) {
      if (c > 0 && border_ == 0) out_ << ' ';
      if (c > 0 && border_ > 0) out_ << strokes_.line << ends.middle << strokes_.line;
      out_ << repeated(strokes_.line, widths_[c]);
    }
    if (border_ > 0) out_ << strokes_.line;
    if (border_ == 2) out_ << ends.right;
    out_ << '\n';
  }

  void header() {
    if (border_ == 2) rule(strokes_.top);
    std::size_t height = widths_.empty() ? 0 : 1;
    for (const Lines& header : grid_.headers)
      height = std::max(height, header.size());
    for (std::size_t line = 0; line < height; ++line)
      header_line(line);
    rule(strokes_.between);
  }

  /// psql, print_aligned_text(): a value that goes on below has a mark in place of the space
  /// behind.
  void row(const std::vector<Lines>& cells) {
    std::vector<Place> places(cells.size());
    if (cells.empty()) return;
    for (bool more = true; more;) {
      more = false;
      if (border_ == 2) out_ << strokes_.bar;
      for (std::size_t c = 0; c < cells.size(); ++c)
        more = cell_line(cells[c], c, places[c]) || more;
      if (border_ == 2) out_ << strokes_.bar;
      out_ << '\n';
    }
  }

  void bottom() {
    if (border_ == 2) rule(strokes_.bottom);
  }

 private:
  /// How far a value has been printed.
  struct Place {
    std::size_t line = 0, offset = 0;
  };

  void header_line(std::size_t line) {
    if (border_ == 2) out_ << strokes_.bar;
    for (std::size_t c = 0; c < widths_.size(); ++c) {
      const Lines& header = grid_.headers[c];
      const std::string text = line < header.size() ? header[line] : std::string();
      const std::size_t pad = widths_[c] - display_width(text);
      if (border_ > 0) out_ << ' ';
      out_ << spaces(pad / 2) << text << spaces(pad - pad / 2);
      out_ << (line + 1 < header.size() ? strokes_.goes_on : " ");
      if (border_ > 0 && c + 1 < widths_.size()) out_ << strokes_.bar;
    }
    if (border_ == 2) out_ << strokes_.bar;
    out_ << '\n';
  }

  /// Prints what fits of a value; returns whether there is more of it.
  bool cell_line(const Lines& value, std::size_t column, Place& place) {
    const bool last = column + 1 == widths_.size();
    const bool padded = border_ == 2 || !last;
    if (border_ > 0) out_ << (place.offset > 0 ? strokes_.cut : " ");
    std::string_view behind = padded ? " " : "";
    bool more = false;
    if (place.line >= value.size()) {
      if (padded) out_ << spaces(widths_[column]);
    } else {
      const std::string_view text = std::string_view(value[place.line]).substr(place.offset);
      const Fitting fits = fitting(text, widths_[column]);
      place.offset += fits.bytes;
      const bool cut = fits.bytes < text.size();
      if (!cut) place = {place.line + 1, 0};
      more = cut || place.line < value.size();
      if (more) behind = cut ? strokes_.cut : strokes_.goes_on;
      const std::size_t pad = widths_[column] - std::min(fits.width, widths_[column]);
      if (grid_.right[column]) out_ << spaces(pad);
      out_ << text.substr(0, fits.bytes);
      if (!grid_.right[column] && (padded || more)) out_ << spaces(pad);
    }
    out_ << behind;
    if (border_ > 0 && !last) out_ << strokes_.bar;
    return more;
  }

  std::ostream& out_;
  const Grid& grid_;
  const Strokes& strokes_;
  unsigned border_;
  const std::vector<std::size_t>& widths_;
};

void print_title(std::ostream& out, const FormatOptions& options, std::size_t width) {
  if (options.title.empty() || options.tuples_only) return;
  const std::size_t title = display_width(options.title);
  out << spaces(title < width ? (width - title) / 2 : 0) << options.title << '\n';
}

}  // namespace

void print_table(std::ostream& out, const Sheet& sheet, const FormatOptions& options) {
  const Grid grid(sheet, options);
  std::vector<std::size_t> widths = grid.widths;
  if (options.format == Format::wrapped) widths = wrapped_widths(grid, options);
  const std::size_t width = total_width(widths, options.border);
  const bool down = options.expanded == Expanded::on ||
                    (options.expanded == Expanded::automatic && options.columns > 0 &&
                     widths.size() > 1 && width > options.columns);
  if (down) {
    print_records(out, sheet, grid, options);
    return;
  }
  print_title(out, options, width);
  Table table(out, grid, options, widths);
  if (!options.tuples_only) table.header();
  for (const auto& row : grid.rows)
    table.row(row);
  table.bottom();
  for (const std::string& line : footers_of(sheet, options))
    out << line << '\n';
}

}  // namespace snowglobe::cli
