// tests/cli/terminal_test.cc - the shell on a terminal: our own, psql, and the guest's behind them.
#include "tests/cli/command.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <set>
#include <sstream>
#include <sys/stat.h>

namespace snowglobe::testing {
namespace {

TEST(OwnShell, PromptsDescribesAndFormatsAsPsqlDoes) {
  Started shell(Started::On::terminal, {"shell", "--own"});
  shell.wait_for("postgres=# ");
  shell.type("create table t(id int primary key,\r");
  shell.wait_for("postgres(# ");
  shell.type("name text);\r");
  shell.wait_for("CREATE TABLE");
  shell.wait_for("postgres=# ");
  shell.type("insert into t values (1, 'Ada');\r");
  shell.wait_for("INSERT 0 1");
  shell.type("\\d t\r");
  shell.wait_for("\"t_pkey\" PRIMARY KEY, btree (id)");
  shell.type("\\x\r");
  shell.wait_for("Expanded display is on.");
  shell.type("select * from t;\r");
  shell.wait_for("-[ RECORD 1 ]");
  shell.wait_for("name | Ada");
  shell.type("\\timing\r");
  shell.wait_for("Timing is on.");
  shell.type("begin;\r");
  shell.wait_for("postgres=*# ");
  shell.type("nonsense;\r");
  shell.wait_for("ERROR:  syntax error");
  shell.wait_for("postgres=!# ");
  shell.type("rollback;\r");
  shell.wait_for("postgres=# ");
  shell.type("begin; savepoint s; select 1/0;\r");
  shell.wait_for("postgres=!# ");
  shell.type("rollback to s;\r");
  shell.wait_for("postgres=*# ");
  shell.type("do $$ begin end $$; select (\r");
  shell.wait_for("postgres(*# ");
  shell.type("1);\r");
  shell.wait_for("postgres=*# ");
  shell.type("commit and chain;\r");
  shell.wait_for("postgres=*# ");
  shell.type("commit; create role clerk; set role clerk;\r");
  shell.wait_for("postgres=> ");
  shell.type("reset role; \\if false\r");
  shell.wait_for("postgres@# ");
  shell.type("\\endif\r");
  shell.wait_for("postgres=# ");
  shell.type("\\nosuch\r");
  shell.wait_for("there is no command \\nosuch");
  shell.type("\\q\r");
  EXPECT_EQ(shell.wait(), 0);
}

TEST(OwnShell, CtrlCDropsALineAndCancelsAStatement) {
  Started shell(Started::On::terminal, {"shell", "--own"});
  shell.wait_for("postgres=# ");
  shell.type("select 'half\r");
  shell.wait_for("postgres'# ");
  shell.type("\x03");
  shell.wait_for("^C");
  shell.wait_for("postgres=# ");
  shell.type("select pg_sleep(60);\r");
  usleep(400'000);
  shell.type("\x03");
  shell.wait_for("canceling statement due to user request");
  shell.wait_for("postgres=# ");
  shell.type("select 6 * 7 as answer;\r");
  shell.wait_for("42");
  shell.type("\\watch 0.1\r");
  shell.wait_for("42");
  shell.wait_for("42");
  shell.type("\x03");
  shell.wait_for("postgres=# ");
  shell.type("\\q\r");
  EXPECT_EQ(shell.wait(), 0);
}

TEST(OwnShell, SavesAndRestoresTheWholeMachine) {
  Started shell(Started::On::terminal, {"shell", "--own"});
  shell.wait_for("postgres=# ");
  shell.type("create table t as select 1;\r");
  shell.wait_for("SELECT 1");
  shell.type("\\save before\r");
  shell.wait_for("Saved \"before\"");
  shell.type("drop table t;\r");
  shell.wait_for("DROP TABLE");
  shell.type("\\restore before\r");
  shell.wait_for("Restored in");
  shell.type("select count(*) as rows_there from t;\r");
  shell.wait_for("(1 row)");
  shell.type("\\snapshots\r");
  shell.wait_for("before");
  shell.type("\\q\r");
  EXPECT_EQ(shell.wait(), 0);
}

TEST(OwnShell, RemembersAndCompletes) {
  {
    Started shell(Started::On::terminal, {"shell", "--own"});
    shell.wait_for("postgres=# ");
    shell.type("create table remarkable(n int);\r");
    shell.wait_for("CREATE TABLE");
    shell.type("sel\t7 as seven from remar\t;\r");
    shell.wait_for("(0 rows)");
    shell.type("\\q\r");
    EXPECT_EQ(shell.wait(), 0);
  }
  Started again(Started::On::terminal, {"shell", "--own"});
  again.wait_for("postgres=# ");
  again.type("\x10\x10");  // Ctrl-P: twice up, over \q
  again.wait_for("seven from remarkable");
  again.type("\r");
  again.wait_for("does not exist");
  again.wait_for("postgres=# ");
  again.type("\x04");  // Ctrl-D leads to the guest's shell, as in the article (S15)
  again.wait_for("root@snowglobe:/# ");
  again.type("uname -m\r");
  again.wait_for("i686\r\n");
  again.wait_for("root@snowglobe:/# ");
  again.type("\x04");
  EXPECT_EQ(again.wait(), 0);
}

TEST(OwnShell, BeginsWithTheUsersStartFile) {
  Folder folder;
  std::ofstream(folder / "rc") << "\\set PROMPT1 '%[%033[1m%]%n at %/%R%l> '\n\\nonsense\n"
                                  "\\set PROMPT2 'more%R %l%x> '\n\\pset null '(nothing)'\n";
  Started shell(Started::On::terminal, {"shell", "--own"}, {"PSQLRC=" + folder / "rc"});
  shell.wait_for("there is no command \\nonsense");
  shell.wait_for("\x1b[1mpostgres at postgres=1> ");
  shell.type("begin; select null\r");
  shell.wait_for("more- 2*> ");
  shell.type(";\r");
  shell.wait_for("(nothing)");
  shell.type("\\q\r");
  EXPECT_EQ(shell.wait(), 0);
  Started without(Started::On::terminal, {"shell", "--own", "-X"}, {"PSQLRC=" + folder / "rc"});
  without.wait_for("postgres=# ");
  without.type("\\pset bo\t2\r");  // completed to border
  without.wait_for("Border style is 2.");
  without.type("select null as it;\r");
  without.wait_for("|    |\r\n");
  without.type("\\q\r");
  EXPECT_EQ(without.wait(), 0);
}

TEST(OwnShell, LeavesAHistoryThatIsNoPlainFileAlone) {
  const std::filesystem::path file = home() / "history";  // as good as /dev/null
  std::filesystem::remove(file);
  ASSERT_EQ(mkfifo(file.c_str(), 0644), 0);
  const auto before = std::filesystem::status(file).permissions();
  Started shell(Started::On::terminal, {"shell", "--own"});
  shell.wait_for("postgres=# ");
  shell.type("select 1;\r");
  shell.wait_for("(1 row)");
  shell.type("\\q\r");
  EXPECT_EQ(shell.wait(), 0);
  EXPECT_EQ(std::filesystem::status(file).permissions(), before);
  std::filesystem::remove(file);
}

TEST(Exec, GivesAProgramOfTheGuestThisTerminal) {
  Started program(Started::On::terminal, {"exec", "-t", "--", "sh"});
  program.wait_for("# ");
  program.type("tty; stty size\r");
  program.wait_for("/dev/pts/");
  program.type("sh -c 'echo begun; exec sleep 1000'\r");
  program.wait_for("\r\nbegun\r\n");  // it has the terminal now
  program.type("\x03");               // goes there, and does not end us
  program.type("echo still $((6 * 7))\r");
  program.wait_for("still 42\r\n");
  program.type("exit 7\r");
  EXPECT_EQ(program.wait(), 7);
}

TEST(Exec, OnATerminalEndsByTheWayOut) {
  Started program(Started::On::terminal,
                  {"exec", "-t", "--", "sh", "-c", "echo it runs; exec sleep 1000"});
  program.wait_for("it runs");
  program.type("\x1d");
  EXPECT_NE(program.wait(), 0);
}

TEST(Exec, OnATerminalNeedsOne) {
  Started program(Started::On::pipe, {"exec", "-t", "--", "true"});
  EXPECT_EQ(program.wait(), 2);
}

TEST(Console, IsAShellOnThisTerminal) {
  Started console(Started::On::terminal, {"console"});
  console.wait_for("root@snowglobe:/# ");
  console.type("cd /tmp; word='two words'\r");
  console.wait_for("root@snowglobe:/tmp# ");
  console.type("echo \"<$word>\"\r");
  console.wait_for("<two words>\r\n");
  console.type("touch a-rather-long-name\r");
  console.wait_for("root@snowglobe:/tmp# ");
  console.type("ls -l a-r\t");  // completed by the guest's shell
  console.wait_for("ather-long-name");
  console.type("\r");
  console.wait_for("root@snowglobe:/tmp# ");
  console.type("sh -c 'echo begun; exec sleep 1000'\r");
  console.wait_for("\r\nbegun\r\n");  // it has the terminal now
  console.type("\x03");               // ends what runs, not the shell
  console.wait_for("root@snowglobe:/tmp# ");
  console.type("exit 7\r");
  EXPECT_EQ(console.wait(), 7);
}

TEST(Console, RunsAnEditorAndAPagerInTheWindowsSize) {
  Started console(Started::On::terminal, {"console"});
  console.wait_for("# ");
  console.type("stty size\r");
  console.wait_for("40 200\r\n");
  console.type("vi /tmp/letter\r");
  console.wait_for("- /tmp/letter");  // its status line
  console.type("iDear Ada,");
  console.type("\x1b");  // alone: with what follows it would be another key
  console.wait_for("- /tmp/letter [Modified]");
  console.type(":wq\r");
  console.wait_for("# ");
  console.resize(17, 99);
  console.type("until test \"$(stty size)\" = '17 99'; do sleep 0.05; done; echo follows\r");
  console.wait_for("\r\nfollows\r\n");
  console.type("seq 100 | less\r");
  console.wait_for("16\r\n");
  console.wait_for("\x1b");  // it has filled 16 lines, and waits
  console.type("q");
  console.type("cat /tmp/letter\r");
  console.wait_for("\r\nDear Ada,\r\n");
  console.wait_for("# ");
  console.type("\x04");
  EXPECT_EQ(console.wait(), 0);
}

TEST(Console, EndsWithItsWindow) {
  Started console(Started::On::terminal, {"console"});
  console.wait_for("root@snowglobe:/# ");
  console.hang_up();
  EXPECT_GT(console.wait(), 0);
}

/// Inodes of TCP sockets of this host that listen.
std::set<std::string> listening_sockets() {
  std::set<std::string> inodes;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) {
      std::istringstream words(line);
      std::vector<std::string> all{std::istream_iterator<std::string>(words), {}};
      if (all.size() > 9 && all[3] == "0A") inodes.insert(all[9]);
    }
  }
  return inodes;
}

/// How many of them a process has.
std::size_t ports_of(pid_t pid) {
  const std::set<std::string> listening = listening_sockets();
  std::size_t count = 0;
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::error_code ignored;
    const std::string target = std::filesystem::read_symlink(entry.path(), ignored);
    if (target.starts_with("socket:[") && listening.contains(target.substr(8, target.size() - 9)))
      ++count;
  }
  return count;
}

TEST(OwnShell, NothingListensUnlessAsked) {
  Started shell(Started::On::terminal, {"shell", "--own"});
  shell.wait_for("postgres=# ");
  EXPECT_EQ(ports_of(shell.pid()), 0u);
  shell.type("\\expose\r");
  shell.wait_for("psql ");
  shell.wait_for("as 10.5.0.1; \\hide takes it back");
  shell.wait_for("postgres=# ");
  EXPECT_EQ(ports_of(shell.pid()), 1u);
  shell.type("\\unexpose\r");
  shell.wait_for("Nothing listens");
  EXPECT_EQ(ports_of(shell.pid()), 0u);
  shell.type("\\q\r");
  EXPECT_EQ(shell.wait(), 0);
}

TEST(Psql, TalksOverASocketOfOurOwn) {
  if (run_program({"psql", "--version"}).code != 0) GTEST_SKIP() << "psql is not installed";
  Folder folder;
  Started shell(Started::On::terminal, {"shell"}, {"TMPDIR=" + folder.path().string()});
  shell.wait_for("postgres=# ");
  EXPECT_EQ(ports_of(shell.pid()), 0u);
  shell.type("\\conninfo\r");
  shell.wait_for("via socket in \"" + folder.path().string());
  shell.type("\\q\r");
  EXPECT_EQ(shell.wait(), 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Psql, IsUsedWhereItIsInstalledAndCtrlDLeadsToTheGuest) {
  if (run_program({"psql", "--version"}).code != 0) GTEST_SKIP() << "psql is not installed";
  {
    Started shell(Started::On::terminal, {"shell"}, {"PSQL_PAGER=cat"});
    shell.wait_for("(psql)");
    shell.wait_for("postgres=# ");
    shell.type("select 40 + 2 as answer;\r");
    shell.wait_for("(1 row)");
    shell.wait_for("postgres=# ");
    shell.type("\x04");
    shell.wait_for("root@snowglobe:/# ");
    shell.type("exit\r");
    EXPECT_EQ(shell.wait(), 0);
  }
  Started shell(Started::On::terminal, {"shell"}, {"PSQL_PAGER=cat"});
  shell.wait_for("postgres=# ");
  shell.type("\\q\r");
  EXPECT_EQ(shell.wait(), 0);
}

TEST(Psql, ArgumentsBehindTheDashesAreItsOwn) {
  if (run_program({"psql", "--version"}).code != 0) GTEST_SKIP() << "psql is not installed";
  EXPECT_EQ(snowglobe({"shell", "--", "-Atc", "select 1"}).out, "1\n");
}

TEST(OwnShell, ReadsAStreamWithoutATerminal) {
  const Ran ran = snowglobe({"shell", "--own", "-At"}, {.input = "\\echo hi\nselect 1;\n"});
  EXPECT_EQ(ran.out, "hi\n1\n") << ran.err;
  EXPECT_EQ(snowglobe({"shell"}, {.input = "nonsense;"}).code, 3);
}

TEST(OwnShell, AsksOnATerminalBeforeItRemoves) {
  Folder folder;
  ASSERT_EQ(snowglobe({"--store", folder / "s", "sql", "select 1", "--save-as", "one"}).code, 0);
  Started no(Started::On::terminal, {"--store", folder / "s", "rm", "one"});
  no.wait_for("[y/N]");
  no.type("n\r");
  EXPECT_EQ(no.wait(), 1);
  Started yes(Started::On::terminal, {"--store", folder / "s", "rm", "one"});
  yes.wait_for("[y/N]");
  yes.type("y\r");
  EXPECT_EQ(yes.wait(), 0);
  EXPECT_EQ(snowglobe({"--store", folder / "s", "list", "-q"}).out, "");
}

}  // namespace
}  // namespace snowglobe::testing
