// cli/shell_commands_looks.cc - how results look: \pset and its short forms, and \crosstabview.
#include "cli/conditions.h"
#include "cli/crosstab.h"
#include "cli/shell_commands.h"
#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <iostream>

namespace snowglobe::cli {
namespace {

using Value = std::optional<std::string>;

std::string on_off(bool value) {
  return value ? "on" : "off";
}

/// As \pset without a name shows it.
std::string in_quotes(std::string_view text) {
  std::string all = "'";
  for (const char c : text)
    all += c == '\n' ? "\\n" : c == '\'' ? "\\'" : std::string(1, c);
  return all + "'";
}

bool is_zero_byte(std::string_view text) {
  return text == std::string_view("\0", 1);
}

/// A separator, said in a sentence.
std::string separator_words(std::string_view what, std::string_view text) {
  if (is_zero_byte(text)) return fmt::format("{} is zero byte.", what);
  if (text == "\n") return fmt::format("{} is <newline>.", what);
  return fmt::format("{} is \"{}\".", what, text);
}

unsigned number(std::string_view name, const std::string& text, unsigned long most) {
  std::size_t used = 0;
  unsigned long value = 0;
  try {
    value = std::stoul(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != text.size())
    throw Failure(kUsage, fmt::format("\\pset: {} is a number, not \"{}\"", name, text));
  return static_cast<unsigned>(std::min(value, most));
}

bool truth_or_toggle(std::string_view name, const Value& value, bool now) {
  return value ? parse_truth(*value, fmt::format("\\pset {}", name)) : !now;
}

struct NamedFormat {
  std::string_view name;
  Format format;
};
constexpr std::array<NamedFormat, 6> kFormats = {{{"aligned", Format::aligned},
                                                  {"csv", Format::csv},
                                                  {"html", Format::html},
                                                  {"json", Format::json},
                                                  {"unaligned", Format::unaligned},
                                                  {"wrapped", Format::wrapped}}};

/// The beginning of a name is enough; none of them begin alike.
Format format_named(const std::string& text) {
  for (const NamedFormat& each : kFormats)
    if (!text.empty() && each.name.starts_with(text)) return each.format;
  throw Failure(kUsage, "\\pset: formats are aligned, csv, html, json, unaligned and wrapped");
}

std::string_view name_of(Format format) {
  const auto found = std::find_if(kFormats.begin(), kFormats.end(),
                                  [format](const NamedFormat& f) { return f.format == format; });
  return found->name;
}

/// A setting of \pset: what sets it (no value: toggles, clears, or leaves it), how it stands in the
/// list of all, and the sentence about it.
struct Setting {
  std::string_view name;
  void (*set)(FormatOptions&, const Value&);
  std::string (*value)(const FormatOptions&);
  std::string (*sentence)(const FormatOptions&);
};

constexpr unsigned kMostColumns = 1'000'000;

// By name, as psql lists them.
const Setting kSettings[] = {
    {"border",
     [](FormatOptions& f, const Value& v) {
       if (v) f.border = number("border", *v, 2);
     },
     [](const FormatOptions& f) { return std::to_string(f.border); },
     [](const FormatOptions& f) { return fmt::format("Border style is {}.", f.border); }},
    {"columns",
     [](FormatOptions& f, const Value& v) {
       if (v) f.columns = number("columns", *v, kMostColumns);
     },
     [](const FormatOptions& f) { return std::to_string(f.columns); },
     [](const FormatOptions& f) {
       return f.columns == 0 ? std::string("Target width is unset.")
                             : fmt::format("Target width is {}.", f.columns);
     }},
    {"csv_fieldsep",
     [](FormatOptions& f, const Value& v) {
       if (!v) return;
       if (v->size() != 1)
         throw Failure(kUsage, "\\pset: csv_fieldsep must be a single one-byte character");
       if (v->find_first_of("\"\n\r") == 0)
         throw Failure(kUsage,
                       "\\pset: csv_fieldsep cannot be a double quote, a newline, or a "
                       "carriage return");
       f.csv_separator = *v;
     },
     [](const FormatOptions& f) { return in_quotes(f.csv_separator); },
     [](const FormatOptions& f) {
       return fmt::format("Field separator for CSV is \"{}\".", f.csv_separator);
     }},
    {"expanded",
     [](FormatOptions& f, const Value& v) {
       if (v == "auto") {
         f.expanded = Expanded::automatic;
       } else {
         const bool on = truth_or_toggle("expanded", v, f.expanded == Expanded::on);
         f.expanded = on ? Expanded::on : Expanded::off;
       }
     },
     [](const FormatOptions& f) {
       return f.expanded == Expanded::automatic ? "auto" : on_off(f.expanded == Expanded::on);
     },
     [](const FormatOptions& f) {
       return f.expanded == Expanded::automatic
                  ? std::string("Expanded display is used automatically.")
                  : fmt::format("Expanded display is {}.", on_off(f.expanded == Expanded::on));
     }},
    {"fieldsep",
     [](FormatOptions& f, const Value& v) {
       if (v) f.separator = *v;
     },
     [](const FormatOptions& f) { return in_quotes(is_zero_byte(f.separator) ? "" : f.separator); },
     [](const FormatOptions& f) { return separator_words("Field separator", f.separator); }},
    {"fieldsep_zero", [](FormatOptions& f, const Value&) { f.separator.assign(1, '\0'); },
     [](const FormatOptions& f) { return on_off(is_zero_byte(f.separator)); },
     [](const FormatOptions& f) { return separator_words("Field separator", f.separator); }},
    {"footer",
     [](FormatOptions& f, const Value& v) { f.count = truth_or_toggle("footer", v, f.count); },
     [](const FormatOptions& f) { return on_off(f.count); },
     [](const FormatOptions& f) { return fmt::format("Default footer is {}.", on_off(f.count)); }},
    {"format",
     [](FormatOptions& f, const Value& v) {
       if (v) f.format = format_named(*v);
     },
     [](const FormatOptions& f) { return std::string(name_of(f.format)); },
     [](const FormatOptions& f) { return fmt::format("Output format is {}.", name_of(f.format)); }},
    {"linestyle",
     [](FormatOptions& f, const Value& v) {
       if (v != "ascii" && v != "unicode" && v)
         throw Failure(kUsage, "\\pset: line styles are ascii and unicode");
       if (v) f.line_style = v == "ascii" ? LineStyle::ascii : LineStyle::unicode;
     },
     [](const FormatOptions& f) {
       return std::string(f.line_style == LineStyle::ascii ? "ascii" : "unicode");
     },
     [](const FormatOptions& f) {
       return fmt::format("Line style is {}.",
                          f.line_style == LineStyle::ascii ? "ascii" : "unicode");
     }},
    {"null",
     [](FormatOptions& f, const Value& v) {
       if (v) f.null = *v;
     },
     [](const FormatOptions& f) { return in_quotes(f.null); },
     [](const FormatOptions& f) { return fmt::format("Null display is \"{}\".", f.null); }},
    {"pager",
     [](FormatOptions& f, const Value& v) {
       if (v == "always") {
         f.pager = Pager::always;
       } else {
         const bool on = truth_or_toggle("pager", v, f.pager != Pager::never);
         f.pager = on ? Pager::long_output : Pager::never;
       }
     },
     [](const FormatOptions& f) { return std::to_string(static_cast<int>(f.pager)); },
     [](const FormatOptions& f) {
       return std::string(f.pager == Pager::never    ? "Pager usage is off."
                          : f.pager == Pager::always ? "Pager is always used."
                                                     : "Pager is used for long output.");
     }},
    {"recordsep",
     [](FormatOptions& f, const Value& v) {
       if (v) f.record_separator = *v;
     },
     [](const FormatOptions& f) {
       return in_quotes(is_zero_byte(f.record_separator) ? "" : f.record_separator);
     },
     [](const FormatOptions& f) {
       return separator_words("Record separator", f.record_separator);
     }},
    {"recordsep_zero", [](FormatOptions& f, const Value&) { f.record_separator.assign(1, '\0'); },
     [](const FormatOptions& f) { return on_off(is_zero_byte(f.record_separator)); },
     [](const FormatOptions& f) {
       return separator_words("Record separator", f.record_separator);
     }},
    {"title", [](FormatOptions& f, const Value& v) { f.title = v.value_or(""); },
     [](const FormatOptions& f) { return f.title.empty() ? std::string() : in_quotes(f.title); },
     [](const FormatOptions& f) {
       return f.title.empty() ? std::string("Title is unset.")
                              : fmt::format("Title is \"{}\".", f.title);
     }},
    {"tuples_only",
     [](FormatOptions& f, const Value& v) {
       f.tuples_only = truth_or_toggle("tuples_only", v, f.tuples_only);
     },
     [](const FormatOptions& f) { return on_off(f.tuples_only); },
     [](const FormatOptions& f) {
       return fmt::format("Tuples only is {}.", on_off(f.tuples_only));
     }},
};

// psql's that change nothing here: scripts and start files set them.
constexpr std::string_view kWithoutEffect[] = {"numericlocale",
                                               "pager_min_lines",
                                               "tableattr",
                                               "unicode_border_linestyle",
                                               "unicode_column_linestyle",
                                               "unicode_header_linestyle",
                                               "xheader_width"};

std::string_view long_name(std::string_view name) {
  return name == "x" || name == "vertical" ? "expanded"
         : name == "t"                     ? "tuples_only"
         : name == "C"                     ? "title"
         : name == "T"                     ? "tableattr"
                                           : name;
}

}  // namespace

std::vector<std::string> ShellCommands::looks() {
  std::vector<std::string> names;
  for (const Setting& each : kSettings)
    names.emplace_back(each.name);
  return names;
}

std::vector<std::string> ShellCommands::formats() {
  std::vector<std::string> names;
  names.reserve(std::size(kFormats));
  for (const NamedFormat& each : kFormats)
    names.emplace_back(each.name);
  return names;
}

void ShellCommands::look(std::string_view name, const std::optional<std::string>& value) {
  const std::string_view whole = long_name(name);
  const auto* found = std::find_if(std::begin(kSettings), std::end(kSettings),
                                   [whole](const Setting& s) { return s.name == whole; });
  if (found == std::end(kSettings)) {
    if (std::find(std::begin(kWithoutEffect), std::end(kWithoutEffect), whole) !=
        std::end(kWithoutEffect))
      return;
    throw Failure(kUsage, fmt::format("\\pset: unknown option: {}", name));
  }
  FormatOptions& format = engine_.options_.format;
  found->set(format, value);
  if (engine_.source_->interactive()) std::cout << found->sentence(format) << std::endl;
}

void ShellCommands::pset() {
  if (const auto name = word()) {
    look(*name, word());
    return;
  }
  for (const Setting& each : kSettings)
    std::cout << fmt::format("{:<24} {}\n", each.name, each.value(engine_.options_.format));
  std::cout.flush();
}

void ShellCommands::expanded() {
  look("expanded", word());
}

void ShellCommands::align() {
  look("format", engine_.options_.format.format == Format::aligned ? "unaligned" : "aligned");
}

void ShellCommands::html() {
  look("format", engine_.options_.format.format == Format::html ? "aligned" : "html");
}

void ShellCommands::field_separator() {
  look("fieldsep", word());
}

void ShellCommands::tuples() {
  look("tuples_only", word());
}

void ShellCommands::title() {
  look("title", word());
}

void ShellCommands::crosstab() {
  std::vector<std::string> names;
  while (const auto each = word())
    names.push_back(*each);
  engine_.next_view_ = [names](const Result& result, const FormatOptions& format) {
    return crosstab_of(result, names, format.null);
  };
  run_buffer(std::nullopt);
  engine_.next_view_ = {};  // there may have been nothing to run
}

}  // namespace snowglobe::cli
