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
constexpr const char* kRelationsMore =
    ", pg_size_pretty(pg_table_size(c.oid)) as \"Size\", obj_description(c.oid, 'pg_class') as "
    "\"Description\"";

constexpr const char* kSchemas = R"(
select nspname as "Name", pg_get_userbyid(nspowner) as "Owner" from pg_namespace
where ($1 = '' or true) and ($2 = '' or nspname ~ $2)
  and ($3 or (nspname !~ '^pg_' and nspname <> 'information_schema'))
order by 1)";

constexpr const char* kRoles = R"(
select rolname as "Role name", concat_ws(', ',
    case when rolsuper then 'Superuser' end, case when not rolinherit then 'No inheritance' end,
    case when rolcreaterole then 'Create role' end, case when rolcreatedb then 'Create DB' end,
    case when not rolcanlogin then 'Cannot login' end,
    case when rolreplication then 'Replication' end,
    case when rolbypassrls then 'Bypass RLS' end,
    case when rolconnlimit >= 0 then rolconnlimit || ' connections' end) as "Attributes"
from pg_roles
where ($1 = '' or true) and ($2 = '' or rolname ~ $2) and ($3 or rolname !~ '^pg_') order by 1)";

constexpr const char* kDatabases = R"(
select datname as "Name", pg_get_userbyid(datdba) as "Owner",
  pg_encoding_to_char(encoding) as "Encoding", datcollate as "Collate", datctype as "Ctype",
  array_to_string(datacl, E'\n') as "Access privileges"{more}
from pg_database where ($1 = '' or true) and ($2 = '' or datname ~ $2) and ($3 or true) order by 1)";

constexpr const char* kTypes = R"(
select n.nspname as "Schema", format_type(t.oid, null) as "Name",
  obj_description(t.oid, 'pg_type') as "Description"
from pg_type t join pg_namespace n on n.oid = t.typnamespace
where (t.typrelid = 0 or exists (select from pg_class c where c.oid = t.typrelid and c.relkind = 'c'))
  and not exists (select from pg_type e where e.oid = t.typelem and e.typarray = t.oid)
  and ($3 or n.nspname not in ('pg_catalog', 'information_schema'))
  and case when $1 = '' then $3 or pg_type_is_visible(t.oid) else n.nspname ~ $1 end
  and ($2 = '' or t.typname ~ $2 or format_type(t.oid, null) ~ $2)
order by 1, 2)";

constexpr const char* kExtensions = R"(
select e.extname as "Name", e.extversion as "Version", n.nspname as "Schema",
  obj_description(e.oid, 'pg_extension') as "Description"
from pg_extension e join pg_namespace n on n.oid = e.extnamespace
where ($1 = '' or true) and ($2 = '' or e.extname ~ $2) and ($3 or true) order by 1)";

constexpr const char* kFunctions = R"(
select n.nspname as "Schema", p.proname as "Name", pg_get_function_result(p.oid) as "Result data type",
  pg_get_function_arguments(p.oid) as "Argument data types",
  case p.prokind when 'a' then 'agg' when 'w' then 'window' when 'p' then 'proc' else 'func' end as "Type"
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where ($3 or n.nspname not in ('pg_catalog', 'information_schema'))
  and case when $1 = '' then $3 or pg_function_is_visible(p.oid) else n.nspname ~ $1 end
  and ($2 = '' or p.proname ~ $2)
order by 1, 2, 4)";

void replace(std::string& text, std::string_view what, std::string_view with) {
  const std::size_t at = text.find(what);
  if (at != std::string::npos) text.replace(at, what.size(), with);
}

Described list(Session& session, std::string_view title, std::string sql,
               const NamePattern& pattern, bool system) {
  return {std::string(title), session.query(sql, pattern.schema, pattern.name, system), {}};
}

std::optional<Described> named_list(Session& session, std::string_view command, bool more,
                                    bool system, const NamePattern& pattern) {
  if (command == "dn") return list(session, "List of schemas", kSchemas, pattern, system);
  if (command == "du" || command == "dg")
    return list(session, "List of roles", kRoles, pattern, system);
  if (command == "dT") return list(session, "List of data types", kTypes, pattern, system);
  if (command == "dx")
    return list(session, "List of installed extensions", kExtensions, pattern, system);
  if (command == "df") return list(session, "List of functions", kFunctions, pattern, system);
  if (command != "l") return std::nullopt;
  std::string sql = kDatabases;
  replace(sql, "{more}", more ? ", pg_size_pretty(pg_database_size(oid)) as \"Size\"" : "");
  return list(session, "List of databases", sql, pattern, system);
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
  const bool of_tables = command.find('i') != std::string_view::npos;
  replace(sql, "{more}",
          std::string(of_tables ? ", t.relname as \"Table\"" : "") + (more ? kRelationsMore : ""));
  std::vector<Described> found = {list(session, "List of relations", sql, name, system)};
  if (found.front().rows.empty()) found.clear();
  return found;
}

}  // namespace snowglobe::cli
