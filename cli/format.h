// cli/format.h - results of statements as text: tables as psql draws them, CSV, JSON.
#pragma once

#include <snowglobe/result.hpp>

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::cli {

enum class Format : std::uint8_t { aligned, unaligned, csv, json };
enum class Expanded : std::uint8_t { off, on, automatic };  ///< automatic: if it is too wide

struct FormatOptions {
  Format format = Format::aligned;
  Expanded expanded = Expanded::off;
  bool tuples_only = false;     ///< no header, no count of rows
  std::string null = {};        ///< what stands for NULL, but in JSON
  std::string separator = "|";  ///< of unaligned output
  std::string title = {};
  std::optional<std::vector<std::string>> footers = {};  ///< lines in place of the count of rows
  std::size_t columns = 0;  ///< of the terminal, for Expanded::automatic
};

/// The rows of a result; nothing for one without columns.
void print_rows(std::ostream& out, const Result& result, const FormatOptions& options);

/// One value as `to_json` of PostgreSQL would have it: numbers, booleans and JSON as themselves,
/// all else as a string.
[[nodiscard]] std::string json_value(std::string_view text, std::uint32_t type_oid);

}  // namespace snowglobe::cli
