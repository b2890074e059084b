// api/src/row_diff.cc - reads each table of two machines in the order of its key, side by side.
#include <snowglobe/database.hpp>
#include <snowglobe/diff.hpp>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

namespace snowglobe {
inline namespace v1 {
namespace {

constexpr const char* kDatabases =
    "select datname from pg_database where datallowconn and not datistemplate order by 1";

constexpr const char* kTables = R"(
  select n.nspname, c.relname, format('%I.%I', n.nspname, c.relname), coalesce(
    (select string_agg(format('%I', a.attname), ', ' order by k.place)
     from pg_index i cross join unnest(i.indkey::int2[]) with ordinality k(number, place)
     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
     where i.indrelid = c.oid and i.indisprimary), '')
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'm') and c.relpersistence <> 't' and
    n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast')";

struct Table {
  std::string quoted;
  std::string key;  ///< columns of the primary key, quoted; empty: none
};
using Tables = std::map<std::pair<std::string, std::string>, Table>;  // by schema and name

Tables tables_of(Session& session) {
  Tables tables;
  for (auto [schema, name, quoted, key] :
       session.query<std::string, std::string, std::string, std::string>(kTables)) {
    tables[{schema, name}] = {quoted, key};
  }
  return tables;
}

std::vector<std::string> databases_of(Database& database) {
  std::vector<std::string> names;
  for (auto [name] : database.query<std::string>(kDatabases))
    names.push_back(name);
  return names;
}

/// The rows of a table in ascending order, a batch at a time.
class Rows {
 public:
  /// `by_key`: in order of the primary key, which must be there; else of the rows' hashes.
  Rows(Session& session, const Table& table, bool by_key) : session_(session) {
    const std::string key = by_key ? "row(" + table.key + ")::text collate \"C\"" : "''";
    session_.script("begin; declare rows no scroll cursor for select " + key +
                    ", hashtextextended(t::text, 0) from only " + table.quoted +
                    " t order by 1, 2");
    advance();
  }
  ~Rows() {
    try {
      session_.script("rollback");
    } catch (...) {
      // The session ends with its machine; who called hears of the first error.
    }
  }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  struct Entry {
    std::string key;
    std::int64_t hash = 0;
    bool operator<(const Entry& other) const {
      return std::tie(key, hash) < std::tie(other.key, other.hash);
    }
  };
  /// Nullopt behind the last one.
  [[nodiscard]] const std::optional<Entry>& front() const { return front_; }
  void advance() {
    if (next_ == batch_.size()) {
      batch_ = session_.query("fetch 5000 from rows");
      next_ = 0;
    }
    front_.reset();
    if (next_ == batch_.size()) return;
    const Row row = batch_[next_++];
    front_ = {row[0].as<std::string>(), row[1].as<std::int64_t>()};
  }

 private:
  Session& session_;
  Result batch_;
  std::size_t next_ = 0;
  std::optional<Entry> front_;
};

void compare_rows(Rows& from, Rows& to, bool by_key, TableDiff& diff) {
  while (from.front() && to.front()) {
    const Rows::Entry& before = *from.front();
    const Rows::Entry& after = *to.front();
    if (before.key == after.key && (by_key || before.hash == after.hash)) {
      if (before.hash != after.hash) ++diff.updated;
      from.advance();
      to.advance();
    } else if (before < after) {
      ++diff.deleted;
      from.advance();
    } else {
      ++diff.inserted;
      to.advance();
    }
  }
  for (; from.front(); from.advance())
    ++diff.deleted;
  for (; to.front(); to.advance())
    ++diff.inserted;
}

std::uint64_t rows_in(Session& session, const Table& table) {
  return session.one<std::uint64_t>("select count(*) from only " + table.quoted);
}

/// Of one database that both machines have, or only one (the other session is null).
class DatabaseDiff {
 public:
  DatabaseDiff(std::string name, Session* from, Session* to)
      : name_(std::move(name)), from_(from), to_(to) {}

  void append_to(std::vector<TableDiff>& all) {
    const Tables before = from_ != nullptr ? tables_of(*from_) : Tables();
    const Tables after = to_ != nullptr ? tables_of(*to_) : Tables();
    for (const auto& [name, table] : before) {
      const auto same = after.find(name);
      TableDiff diff = same != after.end() ? changed(table, same->second) : dropped(table);
      add(all, name, std::move(diff));
    }
    for (const auto& [name, table] : after) {
      if (!before.contains(name)) add(all, name, created(table));
    }
  }

 private:
  void add(std::vector<TableDiff>& all, const Tables::key_type& name, TableDiff diff) const {
    const bool same = diff.inserted + diff.updated + diff.deleted == 0;
    if (same && diff.kind == TableDiff::Kind::changed) return;
    diff.database = name_;
    std::tie(diff.schema, diff.table) = name;
    all.push_back(std::move(diff));
  }
  TableDiff changed(const Table& before, const Table& after) {
    const bool by_key = !before.key.empty() && before.key == after.key;
    Rows from(*from_, before, by_key);
    Rows to(*to_, after, by_key);
    TableDiff diff;
    compare_rows(from, to, by_key, diff);
    return diff;
  }
  TableDiff dropped(const Table& table) {
    TableDiff diff;
    diff.kind = TableDiff::Kind::dropped;
    diff.deleted = rows_in(*from_, table);
    return diff;
  }
  TableDiff created(const Table& table) {
    TableDiff diff;
    diff.kind = TableDiff::Kind::created;
    diff.inserted = rows_in(*to_, table);
    return diff;
  }

  std::string name_;
  Session* from_;
  Session* to_;
};

Database machine_of(const Snapshot& snapshot, Options options) {
  options.from = snapshot;
  return Database::open_in_memory(options);
}

// Rows are compared as text: the same value must read the same in both, whatever the settings of
// database and role are.
constexpr const char* kPlainText =
    "set datestyle to iso; set intervalstyle to postgres; set timezone to utc; "
    "set extra_float_digits to 1; set bytea_output to hex; set search_path to ''";

std::optional<Session> session_in(Database& machine, const std::vector<std::string>& databases,
                                  const std::string& name) {
  if (std::ranges::find(databases, name) == databases.end()) return std::nullopt;
  SessionOptions options;
  options.database = name;
  Session session = machine.session(options);
  session.script(kPlainText);
  return session;
}

}  // namespace

std::vector<TableDiff> diff_rows(const Snapshot& from, const Snapshot& to, const Options& options) {
  Database before = machine_of(from, options);
  Database after = machine_of(to, options);
  const std::vector<std::string> old_names = databases_of(before);
  const std::vector<std::string> new_names = databases_of(after);
  std::vector<std::string> names;
  std::ranges::set_union(old_names, new_names, std::back_inserter(names));
  std::vector<TableDiff> all;
  for (const std::string& name : names) {
    std::optional<Session> old_session = session_in(before, old_names, name);
    std::optional<Session> new_session = session_in(after, new_names, name);
    DatabaseDiff(name, old_session ? &*old_session : nullptr, new_session ? &*new_session : nullptr)
        .append_to(all);
  }
  std::ranges::sort(all, {}, [](const TableDiff& diff) {
    return std::tie(diff.database, diff.schema, diff.table);
  });
  return all;
}

}  // namespace v1
}  // namespace snowglobe
