// tests/cli/machine_test.cc - run, expose, exec, put, get, logs, info, doctor: the verbs that show
// the machine to other programs and to people.
#include "tests/cli/command.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <unistd.h>

namespace snowglobe::testing {
namespace {

std::string contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

bool have_psql() {
  return run_program({"psql", "--version"}).code == 0;
}

TEST(Run, GivesItsProgramADatabaseAndTakesItsExitCode) {
  const Ran ran = snowglobe(
      {"run", "sh", "-c", "echo $DATABASE_URL; echo $PGHOST $PGUSER $PGDATABASE; exit 7"});
  EXPECT_EQ(ran.code, 7) << ran.err;
  EXPECT_TRUE(std::regex_search(
      ran.out, std::regex("^postgresql://postgres:[^@]+@127\\.0\\.0\\.1:[0-9]+/postgres\n"
                          "127\\.0\\.0\\.1 postgres postgres\n$")))
      << ran.out;
}

TEST(Run, ItsProgramGetsIn) {
  if (!have_psql()) GTEST_SKIP() << "psql is not installed";
  const Ran ran =
      snowglobe({"run", "--", "psql", "-Atc",
                 "select client_addr from pg_stat_activity where pid = pg_backend_pid()"});
  EXPECT_EQ(ran.out, "10.5.0.1\n") << ran.err;
  EXPECT_EQ(snowglobe({"run", "--", "sh", "-c", "psql -Atc 'select 1' \"$DATABASE_URL\""}).out,
            "1\n");
}

TEST(Run, ASignalToItReachesItsProgram) {
  Started run(Started::On::pipe, {"run", "--", "sh", "-c",
                                  "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done"});
  run.wait_for("up");
  run.signal(SIGTERM);
  EXPECT_EQ(run.wait(), 9);
}

TEST(Expose, PrintsTheUriAndEndsWellWithCtrlC) {
  Started expose(Started::On::pipe, {"expose"});
  const std::string said = expose.wait_for("Ctrl-C ends it");
  std::smatch uri;
  ASSERT_TRUE(std::regex_search(said, uri, std::regex("postgresql://\\S+"))) << said;
  EXPECT_NE(said.find("psql"), std::string::npos);
  if (have_psql()) {
    EXPECT_EQ(run_program({"psql", uri.str(), "-Atc", "select 40 + 2"}).out, "42\n");
  }
  expose.signal(SIGINT);
  EXPECT_EQ(expose.wait(), 0);
}

TEST(Expose, APasswordAndAPortCanBeChosenAndAPortInUseIsSaid) {
  Started expose(Started::On::pipe, {"expose", "--json", "--password", "secret"});
  const auto endpoint = nlohmann::json::parse(expose.wait_for("}"));
  EXPECT_EQ(endpoint["password"], "secret");
  EXPECT_EQ(endpoint["seen_as"], "10.5.0.1");  // as Run.ItsProgramGetsIn has it from the server
  const Ran taken = snowglobe({"expose", "--port", std::to_string(endpoint["port"].get<int>())});
  EXPECT_EQ(taken.code, 10);
  EXPECT_NE(taken.err.find("in use"), std::string::npos) << taken.err;
  EXPECT_EQ(snowglobe({"expose", "--address", "192.0.2.1"}).code, 10);  // RFC 5737: nobody's
  EXPECT_EQ(snowglobe({"expose", "--address", "not-an-address"}).code, 2);
  expose.signal(SIGTERM);
  EXPECT_EQ(expose.wait(), 0);
}

// What the article showed in its guest's shell: rows S16 to S24, S38 to S47 of the capabilities.
TEST(Exec, TheGuestIsALinuxWithPostgres) {
  const std::string all =
      snowglobe({"exec", "--", "sh", "-c",
                 "uname -a; cat /etc/os-release; ls -lh $(which postgres); ps; netstat -l; "
                 "ls /run/postgresql/.s* /tmp/.s* 2>/dev/null; "
                 "route; ip addr show eth0; ping -c 1 gateway; lspci -k"})
          .out;
  EXPECT_TRUE(std::regex_search(all, std::regex("^Linux .* i686 GNU/Linux\n"))) << all;
  for (const char* part :
       {"PRETTY_NAME=", "VERSION_ID=", "[kthreadd]", "checkpointer", "background writer",
        "walwriter", "autovacuum launcher", "logical replication launcher", ".s.PGSQL.5432",
        "default         gateway", "inet 10.5.0.15/16", "inet6 fe80::",
        "64 bytes from 10.5.0.1: seq=0", "00:03.0 Class 0200: 1af4:1000 virtio-pci"})
    EXPECT_NE(all.find(part), std::string::npos) << part << "\n" << all;
  EXPECT_TRUE(std::regex_search(all, std::regex("0\\.0\\.0\\.0:(5432|postgres\\S*) .*LISTEN")))
      << all;
  EXPECT_TRUE(std::regex_search(all, std::regex("-[rwxs-]{9} .* [0-9.]+M .*postgres"))) << all;
}

TEST(Exec, ItsExitCodeAndBothOutputsComeThrough) {
  const Ran ran = snowglobe({"exec", "--cwd", "/tmp", "-e", "WORD=hello", "--", "/bin/sh", "-c",
                             "pwd; echo $WORD >&2; exit 5"});
  EXPECT_EQ(ran.code, 5);
  EXPECT_EQ(ran.out, "/tmp\n");
  EXPECT_EQ(ran.err, "hello\n");
  const auto json =
      nlohmann::json::parse(snowglobe({"exec", "--json", "--", "sh", "-c", "echo x; exit 3"}).out);
  EXPECT_EQ(json["exit_code"], 3);
  EXPECT_EQ(json["stdout"], "x\n");
  EXPECT_EQ(snowglobe({"exec", "-i", "sort"}, {.input = "b\na\n"}).out, "a\nb\n");
  const std::string large(3'000'000, 'x');
  EXPECT_EQ(snowglobe({"exec", "--stdin", "wc", "-c"}, {.input = large}).out, "3000000\n");
  EXPECT_EQ(snowglobe({"exec", "cat"}, {.input = "not for it"}).out, "");
  EXPECT_EQ(snowglobe({"exec", "no-such-program"}).code, 2);
  EXPECT_EQ(snowglobe({"exec", "--timeout", "0.2s", "sleep", "30"}).code, 9);
}

TEST(Exec, OutputComesAsItIsWrittenAndCtrlCIsForTheProgram) {
  Started exec(Started::On::pipe, {"exec", "--", "sh", "-c", "echo first; sleep 60; echo never"});
  exec.wait_for("first");
  exec.signal(SIGINT);
  EXPECT_EQ(exec.wait(), 130);
}

TEST(Guest, FilesGoInAndComeOut) {
  Folder folder;
  std::ofstream(folder / "in") << "some\0bytes\n";
  const Ran ran = snowglobe({"put", folder / "in", "/tmp/x", "--save-as", "with file"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(snowglobe({"--from", "with file", "get", "/tmp/x", folder / "out"}).code, 0);
  EXPECT_EQ(contents(folder / "out"), contents(folder / "in"));
  EXPECT_EQ(snowglobe({"--from", "with file", "get", "/tmp/x", "-"}).out, contents(folder / "in"));
  std::ofstream(folder / "more") << "more";
  EXPECT_EQ(snowglobe({"put", folder / "in", folder / "more", "/tmp", "--save-as", "both"}).code,
            0);
  std::filesystem::create_directory(folder / "into");
  const auto got = nlohmann::json::parse(
      snowglobe({"--from", "both", "get", "--json", "/tmp/in", "/tmp/more", folder / "into"}).out);
  EXPECT_EQ(got[1]["bytes"], 4);
  EXPECT_EQ(contents(folder / "into/in"), contents(folder / "in"));
  EXPECT_EQ(contents(folder / "into/more"), "more");
  EXPECT_EQ(snowglobe({"get", "/etc/hosts", "/etc/passwd", folder / "nothing"}).code, 2);
  EXPECT_EQ(snowglobe({"put", "-", "/tmp/"}).code, 2);
  EXPECT_EQ(snowglobe({"put", "/nowhere", "/tmp/x"}).code, 4);
  EXPECT_NE(snowglobe({"get", "/no/such/file"}).code, 0);
  EXPECT_NE(snowglobe({"get", "/etc/os-release", "/no/such/folder/x"}).code, 0);
  EXPECT_EQ(snowglobe({"put", "-", "/tmp/y", "--mode", "9"}).code, 2);
}

TEST(Guest, TheConsoleKeepsFolderAndVariables) {
  const Ran ran = snowglobe(
      {"console"}, {.input = "tty\ncd /tmp\nA='two words'\nexport A\npwd; echo \"$A\"\nfalse\n"});
  EXPECT_EQ(ran.out, "not a tty\n/tmp\ntwo words\n") << ran.err;
  EXPECT_EQ(ran.code, 1);
}

TEST(Logs, HaveTheKernelAndCanBeJson) {
  const Ran kernel = snowglobe({"logs", "--source", "kernel"});
  EXPECT_NE(kernel.out.find("Linux version 6."), std::string::npos) << kernel.out;
  const auto lines = nlohmann::json::parse(snowglobe({"logs", "--json", "-n", "3"}).out);
  EXPECT_LE(lines.size(), 3u);
}

TEST(About, InfoAddsUpWhatAProductShips) {
  const auto info = nlohmann::json::parse(snowglobe({"info", "--json"}).out);
  EXPECT_LT(info["image_bytes_read"], info["image_bytes"].get<std::int64_t>() / 2);
  EXPECT_EQ(info["memory_mb"], 256);
  EXPECT_EQ(info["image_id"].get<std::string>().size(), 32u);
  EXPECT_GT(info["shipped"]["compressed_bytes"], 10'000'000);
  EXPECT_LT(info["shipped"]["compressed_bytes"], 40'000'000);
  const Ran people = snowglobe({"info", "--no-sizes"}, {.environment = {"SNOWGLOBE_MEMORY_MB=96"}});
  EXPECT_NE(people.out.find("96 MiB"), std::string::npos) << people.out << people.err;
}

TEST(About, TheDoctorFindsAHealthyHostAndAMissingImage) {
  const Ran ran = snowglobe({"doctor", "--json"});
  const auto report = nlohmann::json::parse(ran.out);
  EXPECT_EQ(ran.code, 0) << ran.out;
  EXPECT_EQ(report["healthy"], true);
  EXPECT_GE(report["checks"].size(), 25u);
  std::set<std::string> names;
  for (const auto& check : report["checks"])
    names.insert(check["check"].get<std::string>());
  for (const char* name : {"processor", "executable memory", "mappings", "memory", "overcommit",
                           "huge pages", "time source", "image", "ready states", "query"})
    EXPECT_TRUE(names.contains(name)) << name;
  const Ran sick = snowglobe({"doctor", "--image", "/nowhere"});
  EXPECT_EQ(sick.code, 6);
  EXPECT_NE(sick.out.find("FAIL"), std::string::npos);
  EXPECT_NE(sick.out.find("SNOWGLOBE_IMAGE"), std::string::npos);
  EXPECT_EQ(sick.out.find("FAIL"), sick.out.rfind("FAIL")) << "what follows from it is no news";
}

TEST(About, TheDoctorWarnsOfWhatCouldBeBetter) {
  Folder folder;
  const std::filesystem::path image =
      nlohmann::json::parse(snowglobe({"info", "--json", "--no-sizes"}).out)["image"]
          .get<std::string>();
  for (const auto& entry : std::filesystem::directory_iterator(image))
    if (entry.is_regular_file() && entry.path().filename() != "bare.snap")
      std::filesystem::create_symlink(entry.path(), folder.path() / entry.path().filename());
  std::ofstream(folder / "bare.snap") << "something else";
  const Ran ran =
      run_program({"sh", "-c", "ulimit -n 200; exec \"$0\" \"$@\"", SNOWGLOBE_COMMAND, "doctor",
                   "--json", "--db", folder / "none.globe", "--image", folder.path()});
  EXPECT_EQ(ran.code, 4) << ran.err;  // of the database; the rest are warnings
  const auto report = nlohmann::json::parse(ran.out);
  std::map<std::string, nlohmann::json> checks;
  for (const auto& check : report["checks"])
    checks[check["check"].get<std::string>()] = check;
  EXPECT_EQ(checks["open files"]["verdict"], "warning") << ran.out;
  EXPECT_EQ(checks["open files"]["advice"], "ulimit -n 1024");
  EXPECT_EQ(checks["ready states"]["verdict"], "warning");
  EXPECT_NE(checks["ready states"]["text"].get<std::string>().find("bare.snap"), std::string::npos);
  EXPECT_EQ(checks["database"]["verdict"], "failure");
  EXPECT_EQ(checks["image"]["verdict"], "ok");
  EXPECT_FALSE(std::filesystem::exists(folder / "none.globe"));
}

TEST(About, MemoryOfTheWrongSizeIsUsage) {
  const Ran ran = snowglobe({"--memory", "3", "sql", "select 1"});
  EXPECT_EQ(ran.code, 2) << ran.err;
}

}  // namespace
}  // namespace snowglobe::testing
