// api/src/conninfo.cc - connection parameters that leave nothing to the user's PG* environment.
#include "api/src/conninfo.h"

#include <snowglobe/error.hpp>

#include <array>
#include <cstdlib>
#include <libpq-fe.h>
#include <memory>
#include <optional>
#include <pwd.h>
#include <set>
#include <unistd.h>

namespace snowglobe::detail {
namespace {

/// The keywords that the libpq at run time knows: a newer one has more than the one we were built
/// with, and an unknown keyword is an error.
std::set<std::string> known_keywords() {
  const std::unique_ptr<PQconninfoOption, void (*)(PQconninfoOption*)> options(PQconndefaults(),
                                                                               PQconninfoFree);
  std::set<std::string> keywords;
  for (const PQconninfoOption* option = options.get(); option && option->keyword; ++option) {
    keywords.insert(option->keyword);
  }
  return keywords;
}

std::optional<std::string> own_user_name() {
  std::array<char, 4096> buffer;
  passwd entry{};
  passwd* found = nullptr;
  if (getpwuid_r(geteuid(), &entry, buffer.data(), buffer.size(), &found) != 0 || !found) {
    return std::nullopt;
  }
  return found->pw_name;
}

bool environment_has(const char* name) {
  return std::getenv(name) != nullptr;  // NOLINT(concurrency-mt-unsafe): libpq does the same
}

void require_plain(const std::string& value, const char* what) {
  if (value.empty() || value.find('\0') != std::string::npos) {
    throw InvalidArgument(std::string("SessionOptions::") + what +
                          " must be neither empty nor contain a NUL");
  }
}

}  // namespace

ConnectionParameters connection_parameters(const ServerAddress& address,
                                           const SessionOptions& options,
                                           const std::string& settings) {
  require_plain(options.database, "database");
  require_plain(options.user, "user");
  require_plain(options.application_name, "application_name");
  ConnectionParameters wanted{
      {"host", address.host},
      {"port", address.port},
      {"dbname", options.database},
      {"user", options.user},
      // Any password keeps libpq from reading ~/.pgpass; the pipe's authentication is "trust".
      {"password", "none"},
      {"passfile", "/nonexistent"},
      {"application_name", options.application_name},
      {"fallback_application_name", "snowglobe"},
      {"client_encoding", "UTF8"},
      // What Result's conversions rely on, whatever postgresql.conf says.
      {"options",
       "-c bytea_output=hex -c extra_float_digits=1 -c DateStyle=ISO,MDY -c "
       "IntervalStyle=postgres " +
           (address.settings.empty() ? "" : address.settings + " ") + settings},
      {"connect_timeout", "0"},
      {"sslmode", "disable"},
      {"gssencmode", "disable"},
      {"channel_binding", "disable"},
      {"ssl_min_protocol_version", "TLSv1.2"},
      {"ssl_max_protocol_version", "TLSv1.3"},
      {"target_session_attrs", "any"},
      {"require_auth", "none"},
      {"sslcertmode", "disable"},
      {"load_balance_hosts", "disable"},
      {"sslnegotiation", "postgres"},
      {"min_protocol_version", "3.0"},
      {"max_protocol_version", "3.0"},
  };
  // An empty value would let PGHOSTADDR in. Two empty elements do not, and then two hosts are to be
  // named.
  if (environment_has("PGHOSTADDR") || environment_has("PGSERVICE")) {
    wanted.emplace_back("hostaddr", ",");
    wanted.front().second += "," + address.host;
  }
  if (environment_has("PGREQUIREPEER")) {
    if (const auto name = own_user_name()) wanted.emplace_back("requirepeer", *name);
  }
  const std::set<std::string> known = known_keywords();
  std::erase_if(wanted, [&](const auto& pair) { return !known.contains(pair.first); });
  return wanted;
}

std::string conninfo_string(const ServerAddress& address, std::string_view database,
                            std::string_view user) {
  const auto quoted = [](std::string_view text) {
    std::string out = "'";
    for (const char c : text) {
      if (c == '\'' || c == '\\') out += '\\';
      out += c;
    }
    return out + "'";
  };
  return "host=" + quoted(address.host) + " port=" + address.port + " user=" + quoted(user) +
         " dbname=" + quoted(database) + " sslmode=disable gssencmode=disable" +
         (address.settings.empty() ? "" : " options=" + quoted(address.settings));
}

std::string undo_environment() {
  std::string sql;
  if (environment_has("PGDATESTYLE")) sql += "set datestyle = 'ISO, MDY';";
  if (environment_has("PGTZ")) sql += "set timezone = 'UTC';";
  if (environment_has("PGGEQO")) sql += "set geqo = on;";
  return sql;
}

}  // namespace snowglobe::detail
