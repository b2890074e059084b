// cli/sql_words.cc - what TAB offers in our own shell.
#include "cli/sql_words.h"

#include "cli/shell_commands.h"
#include <algorithm>
#include <cctype>

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

constexpr const char* kNames = R"(
select quote_ident(relname) from pg_class where pg_table_is_visible(oid) and relkind = any ('{r,p,v,m,S,f}')
  and relname ^@ $1
union select quote_ident(attname) from pg_attribute a join pg_class c on c.oid = attrelid
  where attnum > 0 and not attisdropped and relkind = any ('{r,p,v,m}') and attname ^@ $1
  and relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
union select nspname from pg_namespace where nspname ^@ $1
union select proname from pg_proc where length($1) > 2 and proname ^@ $1 and pg_function_is_visible(oid)
union select quote_ident(nspname) || '.' || quote_ident(relname) from pg_class c
  join pg_namespace n on n.oid = relnamespace where strpos($1, '.') > 0 and nspname || '.' || relname ^@ $1
order by 1 limit 200)";

}  // namespace

Completer sql_completer(Database& database) {
  return [&database](std::string_view word, std::string_view before) {
    std::vector<std::string> found;
    if (word.starts_with('\\')) {
      for (const std::string& name : ShellCommands::names())
        if (name.starts_with(word)) found.push_back(name);
      return found;
    }
    std::string lower(word);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const bool upper = !word.empty() && std::isupper(static_cast<unsigned char>(word[0])) != 0;
    const bool sql = !before.starts_with('\\');
    for (std::string each : kWords) {
      if (!sql || lower.empty() || !each.starts_with(lower)) continue;
      if (upper) {
        std::transform(each.begin(), each.end(), each.begin(),
                       [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
      }
      found.push_back(std::move(each));
    }
    try {
      for (const auto& [name] : database.query<std::string>(kNames, lower))
        if (std::find(found.begin(), found.end(), name) == found.end()) found.push_back(name);
    } catch (const Error&) {
      // A full server or a closed one completes no names.
    }
    return found;
  };
}

}  // namespace snowglobe::cli
