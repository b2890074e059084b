// cli/describe.h - the \d family: what is in the catalogue, in tables like psql's. On the session
// that asks, so that its own transaction, search_path and temporary tables count.
#pragma once

#include <snowglobe/session.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::cli {

struct Described {
  std::string title;
  Result rows;
  std::optional<std::vector<std::string>> footers;  ///< lines below, in place of the count of rows
  bool across = false;  ///< also where a record below the other was asked for, as in psql
};

/// `command` is what stood behind the backslash: d, dt+, dn, l, ...; `pattern` a name with * and ?,
/// maybe with a schema before a dot, or nothing. Nothing if the command is none of ours; empty if
/// nothing fits the pattern. Throws SqlError.
[[nodiscard]] std::optional<std::vector<Described>> describe_catalogue(Session& session,
                                                                       std::string_view command,
                                                                       std::string_view pattern);

/// A name as psql's patterns say it, as regular expressions. Public for tests.
struct NamePattern {
  std::string schema;  ///< empty: whatever is visible
  std::string name;    ///< empty: all
};
[[nodiscard]] NamePattern parse_pattern(std::string_view pattern);

}  // namespace snowglobe::cli
