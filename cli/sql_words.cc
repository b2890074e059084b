// cli/sql_words.cc - what TAB offers in our own shell: commands, words of SQL, names of the
// database by what stands before them, variables, files.
#include "cli/sql_words.h"

#include "cli/shell_commands.h"
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fmt/format.h>
#include <map>

namespace snowglobe::cli {
namespace {

constexpr const char* kWords[] = {"abort",        "add",
                                  "all",          "alter",
                                  "analyze",      "and",
                                  "any",          "array",
                                  "as",           "asc",
                                  "begin",        "between",
                                  "bigint",       "boolean",
                                  "by",           "bytea",
                                  "cascade",      "case",
                                  "cast",         "check",
                                  "checkpoint",   "cluster",
                                  "coalesce",     "collate",
                                  "column",       "comment",
                                  "commit",       "concurrently",
                                  "constraint",   "copy",
                                  "create",       "cross",
                                  "current_date", "current_timestamp",
                                  "current_user", "database",
                                  "date",         "default",
                                  "delete",       "desc",
                                  "distinct",     "do",
                                  "domain",       "double precision",
                                  "drop",         "else",
                                  "end",          "except",
                                  "exists",       "explain",
                                  "extension",    "false",
                                  "fetch",        "foreign key",
                                  "from",         "full",
                                  "function",     "generated always as identity",
                                  "grant",        "group by",
                                  "having",       "ilike",
                                  "in",           "index",
                                  "inner",        "insert into",
                                  "integer",      "intersect",
                                  "interval",     "is",
                                  "join",         "jsonb",
                                  "key",          "lateral",
                                  "left",         "like",
                                  "limit",        "listen",
                                  "lock",         "materialized",
                                  "merge into",   "natural",
                                  "not",          "not null",
                                  "notify",       "null",
                                  "numeric",      "offset",
                                  "on",           "on conflict",
                                  "or",           "order by",
                                  "outer",        "over",
                                  "partition by", "primary key",
                                  "procedure",    "public",
                                  "recursive",    "references",
                                  "refresh",      "reindex",
                                  "release",      "rename",
                                  "replace",      "reset",
                                  "restrict",     "returning",
                                  "revoke",       "right",
                                  "role",         "rollback",
                                  "row",          "savepoint",
                                  "schema",       "select",
                                  "sequence",     "serial",
                                  "set",          "show",
                                  "some",         "table",
                                  "temporary",    "text",
                                  "then",         "time",
                                  "timestamp",    "timestamptz",
                                  "to",           "transaction",
                                  "trigger",      "true",
                                  "truncate",     "type",
                                  "union",        "unique",
                                  "unlisten",     "update",
                                  "user",         "using",
                                  "uuid",         "vacuum",
                                  "values",       "varchar",
                                  "view",         "when",
                                  "where",        "window",
                                  "with"};

// $1: how a name begins. $2: letters of pg_class.relkind.
constexpr const char* kRelations = R"(
select quote_ident(relname) from pg_class where pg_table_is_visible(oid)
  and relkind = any (string_to_array($2, null)) and relname ^@ $1
  and (relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) or $1 ^@ 'pg_')
union select quote_ident(nspname) || '.' from pg_namespace where nspname ^@ $1
  and (nspname !~ '^pg_' or $1 ^@ 'pg_')
union select quote_ident(nspname) || '.' || quote_ident(relname) from pg_class c
  join pg_namespace n on n.oid = relnamespace where strpos($1, '.') > 0
  and relkind = any (string_to_array($2, null)) and nspname || '.' || relname ^@ $1
order by 1 limit 200)";

// $2: tables of the statement, or nothing: then those of all tables that are not the system's.
constexpr const char* kColumns = R"(
select distinct quote_ident(attname) from pg_attribute a join pg_class c on c.oid = attrelid
where attnum > 0 and not attisdropped and attname ^@ $1 and relkind = any ('{r,p,v,m,f}')
  and case when $2 = '' then relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    and relnamespace::regnamespace::text !~ '^pg_toast'
    else attrelid in (select to_regclass(name) from unnest(string_to_array($2, ' ')) name) end
order by 1 limit 200)";

constexpr const char* kFunctions = R"(
select distinct quote_ident(proname) || '(' from pg_proc where proname ^@ $1 and pg_function_is_visible(oid)
  and (length($1) > 2 or pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace))
order by 1 limit 200)";

constexpr const char* kDatabases =
    "select quote_ident(datname) from pg_database where datname ^@ $1 and datallowconn order by 1";
constexpr const char* kRoles =
    "select quote_ident(rolname) from pg_roles where rolname ^@ $1 order by 1 limit 200";
constexpr const char* kSchemas =
    "select quote_ident(nspname) from pg_namespace where nspname ^@ $1 order by 1 limit 200";
constexpr const char* kExtensions =
    "select quote_ident(name) from pg_available_extensions where name ^@ $1 order by 1 limit 200";
constexpr const char* kTypes =
    "select format_type(oid, null) from pg_type where format_type(oid, null) ^@ $1 and typtype in "
    "('b', 'e', 'd', 'c', 'r') and typelem = 0 and pg_type_is_visible(oid) order by 1 limit 200";

constexpr const char* kTableKinds = "rpvmf";

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

/// Words of a text, with their dots; signs are words of their own.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  bool in_word = false;
  for (const char c : text) {
    const bool part = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' ||
                      c == '$' || (c & 0x80) != 0;
    if (part && in_word) {
      words.back() += c;
    } else if (part || std::isspace(static_cast<unsigned char>(c)) == 0) {
      words.emplace_back(1, c);
    }
    in_word = part;
  }
  return words;
}

template <std::size_t kCount>
bool is_one_of(std::string_view word, const std::string_view (&words)[kCount]) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

constexpr std::string_view kBeforeTables[] = {"from",    "join",   "update",   "into",
                                              "table",   "only",   "truncate", "copy",
                                              "analyze", "vacuum", "using",    "references"};

/// Tables that a statement names so far, by name and by alias.
std::map<std::string, std::string> tables_of(const std::vector<std::string>& words) {
  std::map<std::string, std::string> tables;
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& name = words[i + 1];
    if (!is_one_of(lower(words[i]), kBeforeTables)) continue;
    if (std::isalpha(static_cast<unsigned char>(name[0])) == 0 && name[0] != '_') continue;
    tables[lower(name)] = name;
    std::size_t alias = i + 2;
    if (alias < words.size() && lower(words[alias]) == "as") ++alias;
    if (alias < words.size() && std::isalpha(static_cast<unsigned char>(words[alias][0])) != 0)
      tables[lower(words[alias])] = name;
  }
  return tables;
}

/// Finds names for one word.
class Finder {
 public:
  Finder(SqlEngine& engine, std::string_view word, std::string_view before)
      : engine_(engine), word_(word), before_(before), begins_(lower(word)) {}

  std::vector<std::string> find() {
    if (word_.starts_with('\\')) {
      take(ShellCommands::names(), word_);
    } else if (word_.starts_with(':')) {
      for (const std::string& name : engine_.variable_names())
        take({":" + name}, word_);
    } else if (before_.starts_with('\\')) {
      argument();
    } else {
      statement();
    }
    return std::move(found_);
  }

 private:
  void take(const std::vector<std::string>& words, std::string_view begins) {
    for (const std::string& each : words)
      if (each.starts_with(begins) && std::find(found_.begin(), found_.end(), each) == found_.end())
        found_.push_back(each);
  }

  /// On the shell's own session: what it has made and not committed counts, and temporary tables.
  template <class... Arguments>
  void ask(const char* sql, const Arguments&... arguments) {
    Session* session = engine_.quiet_session();
    if (session == nullptr) return;
    try {
      for (const auto& [name] : session->query<std::string>(sql, begins_, arguments...))
        take({name}, {});
    } catch (const Error&) {
      // A closed server completes no names.
    }
  }

  void files() {
    namespace fs = std::filesystem;
    const std::size_t slash = word_.rfind('/');
    const std::string folder =
        slash == std::string_view::npos ? "" : std::string(word_.substr(0, slash + 1));
    std::error_code none;
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder.empty() ? "." : folder, none)) {
      const std::string name = entry.path().filename();
      const bool hidden = name[0] == '.' && word_.substr(folder.size()).substr(0, 1) != ".";
      if (!hidden) names.push_back(folder + name + (entry.is_directory(none) ? "/" : ""));
    }
    std::sort(names.begin(), names.end());
    take(names, word_);
  }

  void argument() {
    const std::vector<std::string> words = words_of(before_.substr(1));
    const std::string command = words.empty() ? "" : words[0];
    const bool first = words.size() <= 1;
    if (command == "i" || command == "ir" || command == "o" || command == "w" || command == "e" ||
        command == "cd" || command == "g" || command == "gx") {
      files();
    } else if (command == "copy") {
      const std::string last = lower(words.back());
      if (last == "from" || last == "to") {
        files();
      } else {
        first ? ask(kRelations, kTableKinds) : take({"from", "to"}, begins_);
      }
    } else if (command == "c" || command == "connect") {
      ask(first ? kDatabases : kRoles);
    } else if (command == "x" || command == "timing" || command == "t") {
      take({"on", "off"}, begins_);
    } else if (command == "pset") {
      if (first) return take(ShellCommands::looks(), begins_);
      const bool format = before_.find(" format") != std::string_view::npos;
      const bool style = before_.find(" linestyle") != std::string_view::npos;
      take(format  ? ShellCommands::formats()
           : style ? std::vector<std::string>{"ascii", "unicode"}
                   : std::vector<std::string>{"on", "off"},
           begins_);
    } else if (command == "set" || command == "unset" || command == "prompt") {
      take(engine_.variable_names(), word_);
    } else if (command == "restore") {
      for (const Snapshot& each : engine_.database().snapshots())
        take({each.name()}, word_);
    } else if (command == "h") {
      keywords();
    } else if (command == "password") {
      ask(kRoles);
    } else if (command.starts_with('d') || command.starts_with("sf") || command == "l") {
      objects(command);
    }
  }

  /// Of \dt, \df and their kin.
  void objects(const std::string& command) {
    if (command == "l") return ask(kDatabases);
    const std::string kind = command.substr(0, 2);
    if (kind == "df" || kind == "sf") return ask(kFunctions);
    if (kind == "dn") return ask(kSchemas);
    if (kind == "du" || kind == "dg") return ask(kRoles);
    if (kind == "dT") return ask(kTypes);
    if (kind == "dx") return ask(kExtensions);
    ask(kRelations, kind == "dt"   ? "rp"
                    : kind == "di" ? "iI"
                    : kind == "dv" ? "v"
                    : kind == "dm" ? "m"
                    : kind == "ds" ? "S"
                                   : "rpvmSfiI");
  }

  void keywords() {
    const bool upper = !word_.empty() && std::isupper(static_cast<unsigned char>(word_[0])) != 0;
    for (std::string each : kWords) {
      if (begins_.empty() || !each.starts_with(begins_)) continue;
      if (upper) {
        std::transform(each.begin(), each.end(), each.begin(),
                       [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
      }
      take({each}, {});
    }
  }

  void statement() {
    const std::string text = engine_.typed() + std::string(before_);
    const std::vector<std::string> words = words_of(text);
    const std::string last = words.empty() ? "" : lower(words.back());
    const auto tables = tables_of(words);
    if (is_one_of(last, kBeforeTables)) return ask(kRelations, kTableKinds);
    if (last == "database") return ask(kDatabases);
    if (last == "role" || last == "user") return ask(kRoles);
    if (last == "schema") return ask(kSchemas);
    if (last == "extension") return ask(kExtensions);
    if (last == "view") return ask(kRelations, "vm");
    if (last == "index") return ask(kRelations, "iI");
    if (last == "sequence") return ask(kRelations, "S");
    if (last == "function" || last == "procedure" || last == "call") return ask(kFunctions);
    const std::size_t dot = word_.rfind('.');
    if (dot != std::string_view::npos) {
      const auto table = tables.find(lower(word_.substr(0, dot)));
      if (table == tables.end()) return ask(kRelations, kTableKinds);
      begins_ = lower(word_.substr(dot + 1));
      ask(kColumns, table->second);
      for (std::string& each : found_)
        each.insert(0, word_.substr(0, dot + 1));
      return;
    }
    keywords();
    if (begins_.empty() && tables.empty()) return;
    std::string names;
    for (const auto& [alias, name] : tables)
      names += (names.empty() ? "" : " ") + name;
    ask(kColumns, names);
    if (begins_.empty()) return;
    ask(kRelations, kTableKinds);
    ask(kFunctions);
  }

  SqlEngine& engine_;
  std::string_view word_, before_;
  std::string begins_;
  std::vector<std::string> found_;
};

}  // namespace

Completer sql_completer(SqlEngine& engine) {
  return [&engine](std::string_view word, std::string_view before) {
    return Finder(engine, word,
                  before.substr(std::min(before.find_first_not_of(' '), before.size())))
        .find();
  };
}

}  // namespace snowglobe::cli
