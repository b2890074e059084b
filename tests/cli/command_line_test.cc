// tests/cli/command_line_test.cc - what needs no machine: words of the command line, help,
// completion, man page, and mistakes that are noticed before a machine starts.
#include "cli/command_line.h"

#include "tests/cli/command.h"

#include "cli/failure.h"
#include "cli/terminal.h"
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

namespace snowglobe::testing {
namespace {

const char* const kVerbs[] = {
    "shell", "sql",     "run",   "expose", "save",    "restore",   "list", "show",    "diff",
    "tag",   "rename",  "rm",    "branch", "fork",    "init",      "dump", "load",    "backup",
    "check", "compact", "prune", "verify", "export",  "import",    "exec", "console", "put",
    "get",   "logs",    "info",  "doctor", "version", "completion"};

std::string man_page() {
  std::ifstream file(std::string(SNOWGLOBE_SOURCES) + "/cli/snowglobe.1");
  std::ostringstream text;
  text << file.rdbuf();
  std::string page = text.str();
  std::erase(page, '\\');  // of roff: \-
  return page;
}

TEST(CommandLine, HelpAndVersionAreOnStdoutAndEndWithZero) {
  const Ran help = snowglobe({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const char* verb : kVerbs)
    EXPECT_NE(help.out.find(std::string("  ") + verb + " "), std::string::npos) << verb;
  EXPECT_EQ(help.err, "");
  const Ran version = snowglobe({"--version"});
  EXPECT_TRUE(version.out.starts_with("snowglobe ")) << version.out;
  EXPECT_EQ(snowglobe({"version"}).out, version.out);
  EXPECT_EQ(snowglobe({"sql", "--help"}).code, 0);
}

TEST(CommandLine, AMistypedVerbIsNotADatabase) {
  const Ran ran = snowglobe({"lits"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.out, "");
  EXPECT_NE(ran.err.find("did you mean \"list\"?"), std::string::npos) << ran.err;
  EXPECT_FALSE(std::filesystem::exists("lits"));
}

TEST(CommandLine, BadOptionsAreUsage) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"sql", "--no-such"},
                                                {"expose", "--port", "x"},
                                                {"expose", "--port", "70000"},
                                                {"sql", "--memory", "many", "select 1"},
                                                {"list", "surplus"},
                                                {"run"},
                                                {"exec"},
                                                {"diff"},
                                                {"logs", "--source", "nobody"},
                                                {"completion", "tcsh"},
                                                {"--executor", "magic", "version"},
                                                {"tag", "x", "--note"}}) {
    const Ran ran = snowglobe(words);
    EXPECT_EQ(ran.code, 2) << words[0] << words.size() << ran.err;
    EXPECT_TRUE(ran.err.starts_with("snowglobe: ")) << ran.err;
    EXPECT_EQ(ran.out, "");
  }
}

TEST(CommandLine, ErrorsAreJsonWhereJsonWasAskedFor) {
  const Ran ran = snowglobe({"--json", "lits"});
  EXPECT_EQ(ran.code, 2);
  const auto error = nlohmann::json::parse(ran.err)["error"];
  EXPECT_EQ(error["code"], 2);
  EXPECT_EQ(error["kind"], "usage");
}

TEST(CommandLine, CompletionKnowsEveryVerb) {
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    const Ran ran = snowglobe({"completion", shell});
    EXPECT_EQ(ran.code, 0);
    for (const char* verb : kVerbs)
      EXPECT_NE(ran.out.find(verb), std::string::npos) << shell << " " << verb;
  }
  Folder folder;
  std::ofstream(folder / "script") << snowglobe({"completion", "bash"}).out;
  const Ran completed = run_program(
      {"bash", "-c",
       "source " + (folder / "script") +
           "; COMP_WORDS=(snowglobe pru); COMP_CWORD=1; _snowglobe; echo ${COMPREPLY[*]}"});
  EXPECT_EQ(completed.out, "prune\n") << completed.err;
}

TEST(CommandLine, TheManPageHasEveryVerbAndGlobalOption) {
  const std::string page = man_page();
  for (const char* verb : kVerbs)
    EXPECT_NE(page.find(std::string("\n.B ") + verb), std::string::npos) << verb;
  const std::string help = snowglobe({"--help"}).out;
  std::istringstream words(help.substr(0, help.find("Subcommands")));
  for (std::string word; words >> word;) {
    const std::size_t dashes = word.find("--");
    if (dashes == std::string::npos || word.size() < dashes + 4) continue;
    std::string name = word.substr(dashes + 2);
    while (!name.empty() && std::isalpha(static_cast<unsigned char>(name.back())) == 0)
      name.pop_back();
    EXPECT_NE(page.find(name), std::string::npos) << name;
  }
}

TEST(CommandLine, NoStoreIsMadeByLooking) {
  Folder folder;
  for (const char* verb : {"list", "verify", "branch"}) {
    const Ran ran = snowglobe({"--store", folder / "none", verb});
    EXPECT_EQ(ran.code, 4) << verb << ran.err;
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "none"));
  EXPECT_EQ(snowglobe({folder / "none.globe", "list"}).code, 4);
}

TEST(CommandLine, AnImageThatIsNotThereIsSix) {
  Folder folder;
  const Ran ran =
      snowglobe({"sql", "select 1"}, {.environment = {"SNOWGLOBE_IMAGE=" + (folder / "x")}});
  EXPECT_EQ(ran.code, 6);
  EXPECT_NE(ran.err.find(folder / "x"), std::string::npos) << ran.err;
}

TEST(CommandLine, ABadLogLevelIsUsage) {
  EXPECT_EQ(snowglobe({"sql", "select 1"}, {.environment = {"SNOWGLOBE_LOG=loud"}}).code, 2);
}

TEST(CommandLine, AProgramThatIsNotThereIs127AsInAShell) {
  EXPECT_EQ(snowglobe({"run", "--", "no-such-program-here"}).code, 127);
  EXPECT_EQ(snowglobe({"run", "--", "/no/such/program"}).code, 127);
}

TEST(CommandLine, FilesThatAreNotThereAreFour) {
  EXPECT_EQ(snowglobe({"sql", "-f", "/nowhere.sql"}).code, 4);
  Folder folder;
  EXPECT_EQ(snowglobe({"--store", folder / "s", "import", "/nowhere.snap"}).code, 4);
}

TEST(CommandLine, AnImportOfSomethingElseChangesNothing) {
  Folder folder;
  std::ofstream(folder / "x.snap")
      << "this is no snapshot at all, but long enough to be read as one";
  const Ran ran = snowglobe({"--store", folder / "s", "import", folder / "x.snap"});
  EXPECT_EQ(ran.code, 2) << ran.err;
  EXPECT_EQ(snowglobe({"--store", folder / "s", "list", "--json"}).out, "[]\n");
}

TEST(CommandLine, WordsFindTheirPlaces) {
  CLI::App app("", "snowglobe");
  std::string db;
  bool json = false;
  app.add_option("--db", db);
  app.add_flag("--json", json);
  for (const char* verb : {"sql", "run", "list", "shell", "fork"})
    app.add_subcommand(verb);
  using Words = std::vector<std::string>;
  const auto split = [&app](const Words& words) { return cli::split_command_line(app, words); };
  EXPECT_EQ(split({}).arguments, Words{"shell"});
  EXPECT_EQ(split({"a.globe"}).database, "a.globe");
  EXPECT_EQ(split({"a.globe"}).arguments, Words{"shell"});
  EXPECT_EQ(split({"a.globe", "select 1"}).arguments, (Words{"sql", "select 1"}));
  EXPECT_EQ(split({"select 1"}).arguments, (Words{"sql", "select 1"}));
  EXPECT_EQ(split({"--db", "list", "list"}).arguments, (Words{"list", "--db", "list"}));
  EXPECT_EQ(split({"-At", "select 1"}).arguments, (Words{"sql", "-At", "select 1"}));
  EXPECT_EQ(split({"list", "a.globe"}).database, "a.globe");
  EXPECT_EQ(split({"fork", "a.globe"}).arguments, (Words{"fork", "a.globe"}));
  EXPECT_EQ(split({"run", "--json", "make", "-j2", "--", "x"}).tail,
            (Words{"make", "-j2", "--", "x"}));
  EXPECT_EQ(split({"run", "--", "--odd"}).tail, (Words{"--odd"}));
  EXPECT_EQ(split({"--help"}).arguments, Words{"--help"});
  EXPECT_THROW(split({"lst"}), cli::Failure);
}

TEST(Terminal, SizesAndSpansAreReadable) {
  EXPECT_EQ(cli::human_bytes(0), "0 B");
  EXPECT_EQ(cli::human_bytes(999), "999 B");
  EXPECT_EQ(cli::human_bytes(13'546'179), "13.5 MB");
  EXPECT_EQ(cli::human_bytes(999'960), "1.0 MB");
  EXPECT_EQ(cli::parse_duration("90"), std::chrono::seconds(90));
  EXPECT_EQ(cli::parse_duration("1.5h"), std::chrono::minutes(90));
  for (const char* bad : {"", "x", "1y", "-1", "nan", "1e300d"})
    EXPECT_THROW(static_cast<void>(cli::parse_duration(bad)), InvalidArgument) << bad;
  EXPECT_EQ(cli::display_width("añ漢e\xCC\x81"), 5u);
}

}  // namespace
}  // namespace snowglobe::testing
