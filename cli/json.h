// cli/json.h - JSON for programs: one document a verb, keys in the order in which they were set.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace snowglobe::cli {

using Json = nlohmann::ordered_json;

/// Indented, on stdout. Bytes that are not UTF-8 (paths, output of programs) become U+FFFD.
void print_json(const Json& value);
/// A string of JSON, quotes included.
[[nodiscard]] std::string json_quoted(std::string_view text);

}  // namespace snowglobe::cli
