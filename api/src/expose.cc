// api/src/expose.cc - lets outside programs in: a password for the role, then a port of the host.
#include "api/src/database_state.h"
#include "base/random.h"
#include <snowglobe/database.hpp>

#include <array>
#include <asio/ip/address.hpp>
#include <cctype>
#include <system_error>

namespace snowglobe {
inline namespace v1 {
namespace detail {
namespace {

/// 24 characters of 62: 142 bits, and nothing that a URI or a shell would have to quote.
std::string random_password() {
  constexpr std::string_view kCharacters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  constexpr std::size_t kLength = 24;
  base::SystemRandom random;
  std::string password;
  while (password.size() < kLength) {
    std::array<std::uint8_t, 32> bytes;
    random.fill(bytes);
    for (const std::uint8_t byte : bytes) {
      // Six bits each; what is beyond the last character is dropped, so that all are equally
      // likely.
      const std::size_t index = byte & 63;
      if (index < kCharacters.size() && password.size() < kLength) password += kCharacters[index];
    }
  }
  return password;
}

/// An address as the listener spells it.
struct Place {
  std::string address;
  bool is_outside = false;  // other hosts reach it
};

Place parse_place(const std::string& text) {
  if (text.starts_with('/')) return {text, false};
  std::error_code error;
  const asio::ip::address address = asio::ip::make_address(text, error);
  if (error) {
    throw InvalidArgument("ExposeOptions::address '" + text +
                          "' is neither an IP address nor the absolute path of a folder");
  }
  return {address.to_string(), !address.is_loopback()};
}

void require_password(const std::string& password) {
  if (password.empty() || password.find('\0') != std::string::npos) {
    throw InvalidArgument("ExposeOptions::password must be neither empty nor contain a NUL");
  }
}

void set_password(Connection& connection, const std::string& user, const std::string& password) {
  // The verifier is made here: neither the guest nor its log ever sees the password.
  connection.run_simple("alter role " + connection.quoted_identifier(user) + " password " +
                        connection.quoted_literal(connection.scram_verifier(user, password)));
}

}  // namespace

void Exposure::put_back(DatabaseState& database) {
  const std::lock_guard lock(mutex_);
  for (const auto& [user, password] : passwords_) {
    if (password.empty()) continue;
    try {
      // Not one of the pool: who restores may hold the last of them.
      set_password(*database.connect({}), user, password);
    } catch (const Error& error) {
      // The machine is put back, whatever this says. Mostly the role was made after the snapshot:
      // there is nobody to let in.
      database.server()->log({LogSource::network, LogLevel::warning,
                              "no password for '" + user + "' after a restore: " + error.what()});
    }
  }
}

Endpoint Exposure::open(DatabaseState& database, const ExposeOptions& options) {
  const auto [address, is_outside] = parse_place(options.address);
  if (options.password) require_password(*options.password);
  const std::lock_guard lock(mutex_);
  std::string password = options.password ? *options.password : passwords_[options.user];
  if (password.empty()) password = random_password();
  if (passwords_[options.user] != password) {
    set_password(*database.acquire(), options.user, password);
    passwords_[options.user] = password;
  }
  const std::uint16_t port = database.server()->listen(address, options.port);
  if (is_outside) {
    database.server()->log(
        {LogSource::network, LogLevel::warning,
         "the database is exposed to other hosts at " + address + " port " + std::to_string(port)});
  }
  return {address, port, options.user, password};
}

}  // namespace detail

namespace {

/// RFC 3986, 2.1 and 2.3.
std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || std::string_view("-._~").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

}  // namespace

Endpoint::Endpoint(std::string host, std::uint16_t port, std::string user, std::string password)
    : host_(std::move(host)), port_(port), user_(std::move(user)), password_(std::move(password)) {}

std::string Endpoint::uri(std::string_view database) const {
  std::string host = host_.find(':') == std::string::npos ? host_ : '[' + host_ + ']';
  if (host_.starts_with('/')) host = percent_encoded(host_);
  return "postgresql://" + percent_encoded(user_) + ':' + percent_encoded(password_) + '@' + host +
         ':' + std::to_string(port_) + '/' + percent_encoded(database);
}

std::string Endpoint::psql(std::string_view database) const {
  return "psql '" + uri(database) + "'";
}

Endpoint Database::expose(const ExposeOptions& options) {
  return state().exposure().open(state(), options);
}

void Database::hide(const Endpoint& endpoint) {
  state().server()->unlisten(endpoint.host(), endpoint.port());
}

void Database::hide() {
  state().server()->unlisten({}, 0);
}

}  // namespace v1
}  // namespace snowglobe
