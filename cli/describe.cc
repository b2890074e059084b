// cli/describe.cc - the \d family: lists of things; describe_relation.cc has single tables.
#include "cli/describe.h"

#include "cli/describe_relation.h"
#include <algorithm>
#include <fmt/format.h>

namespace snowglobe::cli {
namespace {

// Parameters of all lists: $1 expression for the schema, $2 for the name (both may be empty), $3
// system objects as well.
constexpr const char* kRelations = R"(
select n.nspname as "Schema", c.relname as "Name",
  case c.relkind when 'r' then 'table' when 'v' then 'view' when 'm' then 'materialized view'
    when 'i' then 'index' when 'S' then 'sequence' when 't' then 'TOAST table'
    when 'f' then 'foreign table' when 'p' then 'partitioned table'
    when 'I' then 'partitioned index' end as "Type",
  pg_get_userbyid(c.relowner) as "Owner"{more}
from pg_class c join pg_namespace n on n.oid = c.relnamespace
  left join pg_index x on x.indexrelid = c.oid left join pg_class t on t.oid = x.indrelid
where c.relkind = any (regexp_split_to_array('{kinds}', '')) and n.nspname !~ '^pg_toast'
  and ($3 or n.nspname not in ('pg_catalog', 'information_schema'))
  and case when $1 = '' then $3 or pg_table_is_visible(c.oid) else n.nspname ~ $1 end
  and ($2 = '' or c.relname ~ $2)
order by 1, 2)";
constexpr const char* kPersistence =
    ", case c.relpersistence when 'p' then 'permanent' when 't' then 'temporary' when 'u' then "
    "'unlogged' end as \"Persistence\"";
constexpr const char* kAccessMethod =
    ", (select amname from pg_am a where a.oid = c.relam) as \"Access method\"";
constexpr const char* kRelationsMore =
    ", pg_size_pretty(pg_table_size(c.oid)) as \"Size\", obj_description(c.oid, 'pg_class') as "
    "\"Description\"";

constexpr const char* kSchemas = R"(
select nspname as "Name", pg_get_userbyid(nspowner) as "Owner"{more} from pg_namespace
where ($1 = '' or true) and ($2 = '' or nspname ~ $2)
  and ($3 or (nspname !~ '^pg_' and nspname <> 'information_schema'))
order by 1)";

constexpr const char* kSchemasMore =
    ", case when cardinality(nspacl) = 0 then '(none)' else array_to_string(nspacl, E'\\n') end as "
    "\"Access privileges\", obj_description(oid, 'pg_namespace') as \"Description\"";

constexpr const char* kRoles = R"(
select rolname as "Role name", concat_ws(', ',
    case when rolsuper then 'Superuser' end, case when not rolinherit then 'No inheritance' end,
    case when rolcreaterole then 'Create role' end, case when rolcreatedb then 'Create DB' end,
    case when not rolcanlogin then 'Cannot login' end,
    case when rolreplication then 'Replication' end,
    case when rolbypassrls then 'Bypass RLS' end,
    case when rolconnlimit >= 0 then rolconnlimit || ' connections' end) as "Attributes"{more}
from pg_roles
where ($1 = '' or true) and ($2 = '' or rolname ~ $2) and ($3 or rolname !~ '^pg_') order by 1)";

constexpr const char* kDatabases = R"(
select d.datname as "Name", pg_get_userbyid(d.datdba) as "Owner",
  pg_encoding_to_char(d.encoding) as "Encoding",
  case d.datlocprovider when 'b' then 'builtin' when 'c' then 'libc' when 'i' then 'icu' end
    as "Locale Provider",
  d.datcollate as "Collate", d.datctype as "Ctype", d.datlocale as "Locale",
  d.daticurules as "ICU Rules",
  case when cardinality(d.datacl) = 0 then '(none)' else array_to_string(d.datacl, E'\n') end
    as "Access privileges"{more}
from pg_database d join pg_tablespace t on t.oid = d.dattablespace
where ($1 = '' or true) and ($2 = '' or d.datname ~ $2) and ($3 or true) order by 1)";
constexpr const char* kDatabasesMore = R"(,
  case when has_database_privilege(d.datname, 'CONNECT') then pg_size_pretty(pg_database_size(d.oid))
    else 'No Access' end as "Size",
  t.spcname as "Tablespace", shobj_description(d.oid, 'pg_database') as "Description")";

constexpr const char* kTypes = R"(
select n.nspname as "Schema", format_type(t.oid, null) as "Name",{more}
  obj_description(t.oid, 'pg_type') as "Description"
from pg_type t join pg_namespace n on n.oid = t.typnamespace
where (t.typrelid = 0 or exists (select from pg_class c where c.oid = t.typrelid and c.relkind = 'c'))
  and not exists (select from pg_type e where e.oid = t.typelem and e.typarray = t.oid)
  and ($3 or n.nspname not in ('pg_catalog', 'information_schema'))
  and case when $1 = '' then $3 or pg_type_is_visible(t.oid) else n.nspname ~ $1 end
  and ($2 = '' or t.typname ~ $2 or format_type(t.oid, null) ~ $2)
order by 1, 2)";

constexpr const char* kTypesMore = R"(
  t.typname as "Internal name",
  case when t.typrelid <> 0 then 'tuple' when t.typlen < 0 then 'var' else t.typlen::text end as "Size",
  array_to_string(array(select e.enumlabel from pg_enum e where e.enumtypid = t.oid
    order by e.enumsortorder), E'\n') as "Elements",
  pg_get_userbyid(t.typowner) as "Owner",
  case when cardinality(t.typacl) = 0 then '(none)' else array_to_string(t.typacl, E'\n') end
    as "Access privileges",)";

constexpr const char* kExtensions = R"(
select e.extname as "Name", e.extversion as "Version", n.nspname as "Schema",
  obj_description(e.oid, 'pg_extension') as "Description"
from pg_extension e join pg_namespace n on n.oid = e.extnamespace
where ($1 = '' or true) and ($2 = '' or e.extname ~ $2) and ($3 or true) order by 1)";

constexpr const char* kFunctions = R"(
select n.nspname as "Schema", p.proname as "Name", pg_get_function_result(p.oid) as "Result data type",
  pg_get_function_arguments(p.oid) as "Argument data types",
  case p.prokind when 'a' then 'agg' when 'w' then 'window' when 'p' then 'proc' else 'func' end as "Type"{more}
from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_language l on l.oid = p.prolang
where ($3 or n.nspname not in ('pg_catalog', 'information_schema'))
  and case when $1 = '' then $3 or pg_function_is_visible(p.oid) else n.nspname ~ $1 end
  and ($2 = '' or p.proname ~ $2)
order by 1, 2, 4)";

constexpr const char* kFunctionsMore = R"(,
  case p.provolatile when 'i' then 'immutable' when 's' then 'stable' when 'v' then 'volatile' end
    as "Volatility",
  case p.proparallel when 'r' then 'restricted' when 's' then 'safe' when 'u' then 'unsafe' end
    as "Parallel",
  pg_get_userbyid(p.proowner) as "Owner",
  case when p.prosecdef then 'definer' else 'invoker' end as "Security",
  case when cardinality(p.proacl) = 0 then '(none)' else array_to_string(p.proacl, E'\n') end
    as "Access privileges",
  l.lanname as "Language",
  case when l.lanname in ('internal', 'c') then p.prosrc end as "Internal name",
  obj_description(p.oid, 'pg_proc') as "Description")";

void replace(std::string& text, std::string_view what, std::string_view with) {
  const std::size_t at = text.find(what);
  if (at != std::string::npos) text.replace(at, what.size(), with);
}

Described list(Session& session, std::string_view title, std::string sql,
               const NamePattern& pattern, bool system, std::string_view more = {}) {
  replace(sql, "{more}", more);
  return {std::string(title), session.query(sql, pattern.schema, pattern.name, system), {}};
}

std::optional<Described> named_list(Session& session, std::string_view command, bool more,
                                    bool system, const NamePattern& pattern) {
  const auto if_more = [more](const char* columns) { return more ? columns : ""; };
  if (command == "dn")
    return list(session, "List of schemas", kSchemas, pattern, system, if_more(kSchemasMore));
  if (command == "du" || command == "dg") {
    Described roles = list(session, "List of roles", kRoles, pattern, system,
                           if_more(", shobj_description(oid, 'pg_authid') as \"Description\""));
    roles.footers.emplace();  // psql counts no roles
    return roles;
  }
  if (command == "dT")
    return list(session, "List of data types", kTypes, pattern, system, if_more(kTypesMore));
  if (command == "dx" && !more)
    return list(session, "List of installed extensions", kExtensions, pattern, system);
  if (command == "df")
    return list(session, "List of functions", kFunctions, pattern, system, if_more(kFunctionsMore));
  if (command == "l")
    return list(session, "List of databases", kDatabases, pattern, system, if_more(kDatabasesMore));
  return std::nullopt;
}

/// Kinds of relations that "dt", "dvs", "d" ask for, as letters of pg_class.relkind; empty if it is
/// no such command.
std::string relation_kinds(std::string_view command) {
  if (command == "d") return "rpvmSf";
  std::string kinds;
  for (const char c : command.substr(1)) {
    const std::string_view found = c == 't'   ? "rp"
                                   : c == 'i' ? "iI"
                                   : c == 'v' ? "v"
                                   : c == 'm' ? "m"
                                   : c == 's' ? "S"
                                   : c == 'E' ? "f"
                                              : "";
    if (found.empty()) return {};
    kinds += found;
  }
  return kinds;
}

}  // namespace

NamePattern parse_pattern(std::string_view pattern) {
  std::vector<std::string> parts(1);
  bool quoted = false;
  for (const char c : pattern) {
    if (c == '"') {
      quoted = !quoted;
    } else if (c == '.' && !quoted) {
      parts.emplace_back();
    } else if (c == '*' && !quoted) {
      parts.back() += ".*";
    } else if (c == '?' && !quoted) {
      parts.back() += '.';
    } else if (std::string_view("|*+?()[]{}.^$\\").find(c) != std::string_view::npos) {
      parts.back() += std::string("\\") + c;
    } else {
      parts.back() += quoted ? c : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  const auto whole = [](const std::string& part) {
    return part.empty() || part == ".*" ? part : "^(" + part + ")$";
  };
  NamePattern result;
  result.name = whole(parts.back());
  if (parts.size() > 1) result.schema = whole(parts[parts.size() - 2]);
  return result;
}

std::optional<std::vector<Described>> describe_catalogue(Session& session, std::string_view command,
                                                         std::string_view pattern) {
  bool more = false, system = false;
  while (!command.empty() && (command.back() == '+' || command.back() == 'S')) {
    (command.back() == '+' ? more : system) = true;
    command.remove_suffix(1);
  }
  const NamePattern name = parse_pattern(pattern);
  if (command == "d" && !pattern.empty()) return describe_relations(session, name, more);
  if (auto found = named_list(session, command, more, system, name))
    return std::vector{std::move(*found)};
  if (!command.starts_with('d')) return std::nullopt;
  const std::string kinds = relation_kinds(command);
  if (kinds.empty()) return std::nullopt;
  std::string sql = kRelations;
  replace(sql, "{kinds}", kinds);
  std::string columns;
  if (kinds.find('i') != std::string::npos) columns += ", t.relname as \"Table\"";
  if (more) {
    columns += kPersistence;
    if (kinds.find_first_of("rmi") != std::string::npos) columns += kAccessMethod;
    columns += kRelationsMore;
  }
  std::vector<Described> found = {list(session, "List of relations", sql, name, system, columns)};
  if (found.front().rows.empty()) found.clear();
  return found;
}

}  // namespace snowglobe::cli
