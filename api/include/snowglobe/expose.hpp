// snowglobe/expose.hpp - letting psql and other programs in: Database::expose() and what it gives.
#pragma once

#include <snowglobe/export.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace snowglobe {
inline namespace v1 {

struct ExposeOptions {
  /// An IP address of this host, or the absolute path of a folder: then it is a Unix socket in it,
  /// ".s.PGSQL.PORT", for whoever may write to the folder. Anything but a folder or a loopback
  /// address lets other hosts in: that is logged as a warning.
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;         ///< 0: any free one; in a folder 5432
  std::string user = "postgres";  ///< a role that may log in
  /// The role's password from now on; nothing: one of 24 random characters, the same for all
  /// endpoints of a database.
  std::optional<std::string> password = {};
};

/// Where outside programs find the database, and how they log in. A value; the port stays open
/// until Database::hide() or the end of the database.
class SNOWGLOBE_API Endpoint {
 public:
  Endpoint(std::string host, std::uint16_t port, std::string user, std::string password);

  /// The address, or the folder: libpq takes either as `host`.
  [[nodiscard]] const std::string& host() const noexcept { return host_; }
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] const std::string& user() const noexcept { return user_; }
  [[nodiscard]] const std::string& password() const noexcept { return password_; }
  /// "postgresql://user:password@host:port/database": libpq, JDBC-like drivers and tools take it.
  [[nodiscard]] std::string uri(std::string_view database = "postgres") const;
  /// A line for a shell.
  [[nodiscard]] std::string psql(std::string_view database = "postgres") const;

 private:
  std::string host_;
  std::uint16_t port_;
  std::string user_;
  std::string password_;
};

}  // namespace v1
}  // namespace snowglobe
