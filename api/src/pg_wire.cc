// api/src/pg_wire.cc - messages of PostgreSQL's protocol that we read or write in the server's
// place.
#include "api/src/pg_wire.h"

#include <charconv>

namespace snowglobe::detail {
namespace {

constexpr std::uint32_t kVersion3 = 3u << 16;
constexpr std::string_view kSetting = "-c snowglobe.session=";

std::string number(std::uint32_t value) {
  std::uint8_t bytes[4];
  base::store_be(bytes, value);
  return {bytes, bytes + sizeof bytes};
}

std::string message(char type, std::string_view body) {
  std::string out(1, type);
  out += number(static_cast<std::uint32_t>(body.size() + 4));
  out += body;
  return out;
}

std::string terminated(std::string_view text) {
  std::string out(text);
  out += '\0';
  return out;
}

/// Takes our setting out of `options`.
void take_token(std::string& options, StartupPacket& packet) {
  const std::size_t at = options.rfind(kSetting);
  if (at == std::string::npos) return;
  const char* const end = options.data() + options.size();
  const char* from = options.data() + at + kSetting.size();
  const bool pooled = from != end && *from == 'p';
  if (from == end || (*from != 'p' && *from != 's')) return;
  SessionToken token = 0;
  const auto [behind, error] = std::from_chars(++from, end, token, 16);
  if (error != std::errc{} || behind != end || token == 0) return;
  packet.token = token;
  packet.pooled = pooled;
  options.erase(at);
}

}  // namespace

std::string token_setting(SessionToken token, bool pooled) {
  char digits[16];
  const auto written = std::to_chars(digits, digits + sizeof digits, token, 16);
  return std::string(kSetting) + (pooled ? 'p' : 's') + std::string(digits, written.ptr);
}

std::string StartupPacket::key() const {
  std::string key;
  for (const auto& [name, value] : parameters)
    key += terminated(name) + terminated(value);
  return key;
}

StartupState read_startup(base::ConstBytes bytes, StartupPacket& packet) {
  constexpr std::size_t kHeader = 8;
  if (bytes.size() < kHeader) return StartupState::partial;
  const auto length = base::load_be<std::uint32_t>(bytes.data());
  if (base::load_be<std::uint32_t>(bytes.data() + 4) != kVersion3) return StartupState::other;
  if (length < kHeader + 1 || length > kMaxStartup) return StartupState::other;
  if (bytes.size() < length) return StartupState::partial;
  std::string_view rest(static_cast<const char*>(static_cast<const void*>(bytes.data())) + kHeader,
                        length - kHeader);
  packet = {};
  packet.size = length;
  const auto next = [&rest]() -> std::optional<std::string> {
    const std::size_t end = rest.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    std::string text(rest.substr(0, end));
    rest.remove_prefix(end + 1);
    return text;
  };
  for (;;) {
    const std::optional<std::string> name = next();
    if (!name) return StartupState::other;
    if (name->empty()) break;
    const std::optional<std::string> value = next();
    if (!value) return StartupState::other;
    packet.parameters[*name] = *value;
  }
  if (!rest.empty()) return StartupState::other;
  if (const auto options = packet.parameters.find("options"); options != packet.parameters.end()) {
    take_token(options->second, packet);
  }
  return StartupState::startup;
}

std::string parameter_status(std::string_view name, std::string_view value) {
  return message('S', terminated(name) + terminated(value));
}

std::string last_words() {
  // ErrorResponse: a letter for each field, and an empty one at the end.
  return message('E', terminated("SFATAL") + terminated("VFATAL") + terminated("C57P01") +
                          terminated("Mterminating connection because the database was restored") +
                          '\0');
}

std::string greeting(const SessionPicture& session, std::uint32_t key) {
  std::string out = message('R', number(0));  // AuthenticationOk
  for (const auto& [name, value] : session.parameters)
    out += parameter_status(name, value);
  out += message('K', number(static_cast<std::uint32_t>(session.backend_pid)) + number(key));
  out += message('Z', "I");  // ReadyForQuery, idle
  return out;
}

}  // namespace snowglobe::detail
