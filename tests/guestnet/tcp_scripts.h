// tests/guestnet/tcp_scripts.h - the TCP scripts, by what they are about.
#pragma once

#include <vector>

namespace snowglobe::net {

struct TcpScript {
  const char* name;
  const char* rule;  ///< what it comes from
  const char* text;
};

extern const std::vector<TcpScript> kOpenScripts;
extern const std::vector<TcpScript> kDataScripts;
extern const std::vector<TcpScript> kRetryScripts;
extern const std::vector<TcpScript> kWindowScripts;
extern const std::vector<TcpScript> kCloseScripts;
extern const std::vector<TcpScript> kResetScripts;

}  // namespace snowglobe::net
