// tests/guestnet/tcp_script_test.cc - runs all TCP scripts, each as a test of its own.
#include "tests/guestnet/tcp_script.h"

#include "tests/guestnet/tcp_scripts.h"

#include <gtest/gtest.h>

namespace snowglobe::net {

void PrintTo(const TcpScript& script, std::ostream* out) {
  *out << script.rule;
}

namespace {

class TcpScripts : public testing::TestWithParam<TcpScript> {};

TEST_P(TcpScripts, Holds) {
  run_tcp_script(GetParam().text);
}

std::string name_of(const testing::TestParamInfo<TcpScript>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Open, TcpScripts, testing::ValuesIn(kOpenScripts), name_of);
INSTANTIATE_TEST_SUITE_P(Data, TcpScripts, testing::ValuesIn(kDataScripts), name_of);
INSTANTIATE_TEST_SUITE_P(Retry, TcpScripts, testing::ValuesIn(kRetryScripts), name_of);
INSTANTIATE_TEST_SUITE_P(Window, TcpScripts, testing::ValuesIn(kWindowScripts), name_of);
INSTANTIATE_TEST_SUITE_P(Close, TcpScripts, testing::ValuesIn(kCloseScripts), name_of);
INSTANTIATE_TEST_SUITE_P(Reset, TcpScripts, testing::ValuesIn(kResetScripts), name_of);

TEST(TcpChallenges, AreThrottledToAHundredASecond) {
  std::string script = "open\n";
  for (int i = 0; i < 100; ++i)
    script += "< R 9:9\n> A 1:1 ack 1\n";
  script += "< R 9:9\n< S 9:9\n< A -9:-9 ack 1\n+1s\n< R 9:9\n> A 1:1 ack 1\n";
  run_tcp_script(script);
}

}  // namespace
}  // namespace snowglobe::net
