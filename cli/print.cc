// cli/print.cc - results for people (a table) and for programs (JSON).
#include "cli/print.h"

#include <algorithm>
#include <cstdio>
#include <ostream>

namespace snowglobe::cli {
namespace {

/// Characters, not bytes: UTF-8's continuation bytes take no column.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

void print_cell(std::ostream& out, std::string_view text, std::size_t wide, bool last) {
  out << text;
  if (last) return;
  out << std::string(wide - std::min(wide, width(text)), ' ') << " | ";
}

void print_string(std::ostream& out, std::string_view text) {
  out << '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out << '\\' << c;
    } else if (byte < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out << escape;
    } else {
      out << c;
    }
  }
  out << '"';
}

}  // namespace

void print_table(std::ostream& out, const Result& result) {
  const std::span<const Column> columns = result.columns();
  if (columns.empty()) {
    out << result.command() << '\n';
    return;
  }
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    std::size_t widest = width(columns[c].name);
    for (std::size_t r = 0; r < result.size(); ++r) {
      widest = std::max(widest, width(result.text(r, c).value_or("")));
    }
    widths.push_back(widest);
  }
  for (std::size_t c = 0; c < columns.size(); ++c) {
    print_cell(out, columns[c].name, widths[c], c + 1 == columns.size());
  }
  out << '\n';
  for (std::size_t c = 0; c < columns.size(); ++c) {
    out << std::string(widths[c], '-') << (c + 1 == columns.size() ? "\n" : "-+-");
  }
  for (std::size_t r = 0; r < result.size(); ++r) {
    for (std::size_t c = 0; c < columns.size(); ++c) {
      print_cell(out, result.text(r, c).value_or(""), widths[c], c + 1 == columns.size());
    }
    out << '\n';
  }
}

void print_json(std::ostream& out, const Result& result) {
  const std::span<const Column> columns = result.columns();
  out << '[';
  for (std::size_t r = 0; r < result.size(); ++r) {
    out << (r == 0 ? "{" : ",\n {");
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if (c > 0) out << ", ";
      print_string(out, columns[c].name);
      out << ": ";
      if (const auto text = result.text(r, c)) {
        print_string(out, *text);
      } else {
        out << "null";
      }
    }
    out << '}';
  }
  out << "]\n";
}

}  // namespace snowglobe::cli
