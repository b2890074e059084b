// cli/crosstab.cc - \crosstabview, as psql has it.
#include "cli/crosstab.h"

#include "cli/failure.h"
#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <map>
#include <memory>
#include <numeric>

namespace snowglobe::cli {
namespace {

using Value = std::optional<std::string>;
constexpr std::size_t kMostColumns = 1600;  // of a table of PostgreSQL, and of psql's grids

/// Whether `text` is all digits; `value` is the number then.
bool whole_number(std::string_view text, long& value) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return !text.empty() && failure == std::errc() && end == text.data() + text.size();
}

/// A name as an SQL identifier: folded to lower case, but in double quotes.
std::string identifier(std::string_view text) {
  std::string name;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '"') {
      name +=
          quoted ? text[i] : static_cast<char>(std::tolower(static_cast<unsigned char>(text[i])));
    } else if (quoted && i + 1 < text.size() && text[i + 1] == '"') {
      name += text[i++];
    } else {
      quoted = !quoted;
    }
  }
  return name;
}

std::size_t column_of(const Result& result, const std::string& text) {
  const auto columns = result.columns();
  long number = 0;
  if (whole_number(text, number)) {
    if (number >= 1 && static_cast<std::size_t>(number) <= columns.size())
      return static_cast<std::size_t>(number - 1);
    throw Failure(kUsage, fmt::format("\\crosstabview: column number {} is out of range 1..{}",
                                      number, columns.size()));
  }
  const std::string name = identifier(text);
  std::optional<std::size_t> found;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    if (columns[c].name != name) continue;
    if (found)
      throw Failure(kUsage, fmt::format("\\crosstabview: ambiguous column name: \"{}\"", name));
    found = c;
  }
  if (found) return *found;
  throw Failure(kUsage, fmt::format("\\crosstabview: column name not found: \"{}\"", name));
}

struct Fields {
  std::size_t down = 0, across = 1, values = 2;
  std::optional<std::size_t> sorted_by;
};

Fields fields_of(const Result& result, const std::vector<std::string>& names) {
  const std::size_t count = result.columns().size();
  if (count < 3) throw Failure(kUsage, "\\crosstabview: query must return at least three columns");
  Fields fields;
  if (!names.empty()) fields.down = column_of(result, names[0]);
  if (names.size() > 1) fields.across = column_of(result, names[1]);
  if (fields.down == fields.across) {
    throw Failure(kUsage,
                  "\\crosstabview: vertical and horizontal headers must be different columns");
  }
  if (names.size() > 2) {
    fields.values = column_of(result, names[2]);
  } else if (count > 3) {
    throw Failure(kUsage,
                  "\\crosstabview: data column must be specified when query returns more "
                  "than three columns");
  } else {
    fields.values = 3 - fields.down - fields.across;  // the third one
  }
  if (names.size() > 3) fields.sorted_by = column_of(result, names[3]);
  return fields;
}

/// Different values of a column, in the order in which they first came.
struct Headers {
  std::vector<Value> names;
  std::vector<long> ranks;
  std::map<Value, std::size_t> places;

  std::size_t place(const Value& name, long rank) {
    const auto [at, fresh] = places.try_emplace(name, names.size());
    if (fresh) {
      names.push_back(name);
      ranks.push_back(rank);
    }
    return at->second;
  }
};

struct Pivoted {
  std::vector<std::vector<Value>> rows;
};

Value value_at(const Result& result, std::size_t row, std::size_t column) {
  const auto text = result.text(row, column);
  return text ? Value(*text) : std::nullopt;
}

}  // namespace

Sheet crosstab_of(const Result& result, const std::vector<std::string>& columns,
                  const std::string& null) {
  const Fields fields = fields_of(result, columns);
  Headers down, across;
  std::map<std::pair<std::size_t, std::size_t>, Value> cells;
  for (std::size_t r = 0; r < result.size(); ++r) {
    long rank = 0;  // whatever is no number
    if (fields.sorted_by)
      static_cast<void>(whole_number(result.text(r, *fields.sorted_by).value_or(""), rank));
    const std::size_t x = across.place(value_at(result, r, fields.across), rank);
    const std::size_t y = down.place(value_at(result, r, fields.down), 0);
    if (across.names.size() > kMostColumns) {
      throw Failure(kFailed, fmt::format("\\crosstabview: maximum number of columns ({}) exceeded",
                                         kMostColumns));
    }
    if (cells.try_emplace({y, x}, value_at(result, r, fields.values)).second) continue;
    throw Failure(kFailed,
                  fmt::format("\\crosstabview: query result contains multiple data values for row "
                              "\"{}\", column \"{}\"",
                              down.names[y].value_or(null.empty() ? "(null)" : null),
                              across.names[x].value_or(null.empty() ? "(null)" : null)));
  }
  std::vector<std::size_t> order(across.names.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return across.ranks[a] < across.ranks[b]; });

  Sheet sheet;
  sheet.columns.push_back(result.columns()[fields.down]);
  for (const std::size_t x : order) {
    Column column = result.columns()[fields.values];
    column.name = across.names[x].value_or(null);
    sheet.columns.push_back(std::move(column));
  }
  const auto pivoted = std::make_shared<Pivoted>();
  for (std::size_t y = 0; y < down.names.size(); ++y) {
    std::vector<Value>& row = pivoted->rows.emplace_back();
    row.push_back(down.names[y]);
    for (const std::size_t x : order) {
      const auto cell = cells.find({y, x});
      row.push_back(cell == cells.end() ? Value("") : cell->second);  // nothing there: blank
    }
  }
  sheet.rows = pivoted->rows.size();
  sheet.text = [pivoted](std::size_t r, std::size_t c) -> std::optional<std::string_view> {
    const Value& value = pivoted->rows[r][c];
    return value ? std::optional<std::string_view>(*value) : std::nullopt;
  };
  return sheet;
}

}  // namespace snowglobe::cli
