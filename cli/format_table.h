// cli/format_table.h - a result as a table, the way psql draws it: columns side by side, or a
// record below the other. Inside of cli/format*.cc.
#pragma once

#include "cli/format.h"
#include <array>

namespace snowglobe::cli {

void print_table(std::ostream& out, const Sheet& sheet, const FormatOptions& options);
void print_html(std::ostream& out, const Sheet& sheet, const FormatOptions& options);

/// What tables are drawn with, as psql's `\pset linestyle` has it.
struct Strokes {
  struct Rule {
    std::string_view left, middle, right;
  };
  std::string_view line;      ///< of a rule across
  Rule top, between, bottom;  ///< where a rule across meets the bars
  std::string_view bar;
  std::string_view goes_on;  ///< behind a line of a value that has another one
  std::string_view cut;      ///< behind and before what was cut to fit in
};
[[nodiscard]] const Strokes& strokes(LineStyle style);

using Lines = std::vector<std::string>;

/// A rectangle of texts that fits into `width`, at least one character of them: its bytes, and what
/// it takes of the width.
struct Fitting {
  std::size_t bytes = 0, width = 0;
};
[[nodiscard]] Fitting fitting(std::string_view text, std::size_t width);
[[nodiscard]] std::size_t width_of(const Lines& lines);

/// All values of a sheet, cut into lines and measured once.
struct Grid {
  Grid(const Sheet& sheet, const FormatOptions& options);

  std::vector<Lines> headers;
  std::vector<bool> right;  ///< columns whose values stand at the right
  std::vector<std::vector<Lines>> rows;
  std::vector<std::size_t> header_widths, widths;  ///< widths: of header and values
};

/// A record below the other.
void print_records(std::ostream& out, const Sheet& sheet, const Grid& grid,
                   const FormatOptions& options);

[[nodiscard]] inline std::string spaces(std::size_t count) {
  return std::string(count, ' ');
}
[[nodiscard]] std::string repeated(std::string_view text, std::size_t count);

}  // namespace snowglobe::cli
