// tests/cli/lexer_test.cc - where statements end, and what the prompt shows meanwhile.
#include "cli/lexer.h"

#include "cli/conditions.h"
#include "cli/describe.h"
#include "cli/failure.h"
#include "cli/sql_engine.h"
#include <gtest/gtest.h>
#include <sstream>

namespace snowglobe::cli {
namespace {

std::vector<std::string> statements(const std::string& text, Lexer lexer = Lexer()) {
  std::vector<std::string> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::size_t position = 0;
    while (lexer.scan(line, position) == Lexer::Stop::statement)
      if (lexer.has_statement()) found.push_back(lexer.take());
    lexer.newline();
  }
  if (lexer.has_statement()) found.push_back("unfinished: " + lexer.take());
  return found;
}

using Texts = std::vector<std::string>;

TEST(Lexer, CutsAtSemicolonsOutsideOfQuotesAndParentheses) {
  EXPECT_EQ(statements("select 1; select ';'';'; select \";\";"),
            (Texts{"select 1", "select ';'';'", "select \";\""}));
  EXPECT_EQ(statements("create rule r as on insert to t do (select 1; select 2);"),
            (Texts{"create rule r as on insert to t do (select 1; select 2)"}));
  EXPECT_EQ(statements("select e'a\\';b';"), (Texts{"select e'a\\';b'"}));
  EXPECT_EQ(statements("select 'a\\';"), (Texts{"select 'a\\'"}));
}

TEST(Lexer, DollarQuotesEndWithTheirOwnTag) {
  EXPECT_EQ(statements("do $a$ begin; $$ ; end $a$; select $1;"),
            (Texts{"do $a$ begin; $$ ; end $a$", "select $1"}));
  EXPECT_EQ(statements("select a$b$c;"), (Texts{"select a$b$c"}));
}

TEST(Lexer, CommentsNestAndStandBeforeNothing) {
  EXPECT_EQ(statements("-- one; two\n/* a /* b; */ c; */ select 1; -- end"), (Texts{"select 1"}));
  EXPECT_EQ(statements("select 1 -- ;\n, 2;"), (Texts{"select 1 -- ;\n, 2"}));
  EXPECT_EQ(statements(";;; \n ;"), Texts{});
}

TEST(Lexer, ABodyInSqlHasSemicolonsOfItsOwn) {
  const std::string body =
      "create or replace function f() returns int begin atomic select 1; select case when true "
      "then 1 end; end";
  EXPECT_EQ(statements(body + "; select 2;"), (Texts{body, "select 2"}));
  EXPECT_EQ(statements("begin; select 1; end;"), (Texts{"begin", "select 1", "end"}));
}

TEST(Lexer, VariablesStandForTheirValueAndCastsForThemselves) {
  Lexer lexer([](std::string_view name) -> std::optional<std::string> {
    if (name == "v") return "it's";
    return std::nullopt;
  });
  EXPECT_EQ(statements("select :v, :'v', :\"v\", ':v', a::text, :w;", lexer),
            (Texts{"select it's, 'it''s', \"it's\", ':v', a::text, :w"}));
}

TEST(Lexer, ThePromptSaysWhatIsOpen) {
  const auto prompt = [](const std::string& line) {
    Lexer lexer;
    std::size_t position = 0;
    lexer.scan(line, position);
    return lexer.prompt();
  };
  EXPECT_EQ(prompt(""), '=');
  EXPECT_EQ(prompt("select"), '-');
  EXPECT_EQ(prompt("select '"), '\'');
  EXPECT_EQ(prompt("select (1,"), '(');
  EXPECT_EQ(prompt("select $x$"), '$');
  EXPECT_EQ(prompt("/* "), '*');
}

TEST(CopyKind, IsReadFromTheStatementAlone) {
  EXPECT_EQ(copy_kind("COPY t (a, \"from stdin\") FROM STDIN WITH CSV"), CopyKind::from_stdin);
  EXPECT_EQ(copy_kind("copy (select 'from stdin') to stdout"), CopyKind::to_stdout);
  EXPECT_EQ(copy_kind("copy t from '/x/stdin'"), CopyKind::none);
  EXPECT_EQ(copy_kind("select 'copy t from stdin'"), CopyKind::none);
}

TEST(NamePattern, IsAsOfPsql) {
  EXPECT_EQ(parse_pattern("Foo*").name, "^(foo.*)$");
  EXPECT_EQ(parse_pattern("\"Foo*\"").name, "^(Foo\\*)$");
  EXPECT_EQ(parse_pattern("a.b?").schema, "^(a)$");
  EXPECT_EQ(parse_pattern("a.b?").name, "^(b.)$");
  EXPECT_EQ(parse_pattern("").name, "");
}

TEST(Lexer, AVariableMayBeAskedFor) {
  const Variables variables = [](std::string_view name) {
    return name == "v" ? std::optional<std::string>("x\"y") : std::nullopt;
  };
  EXPECT_EQ(substitution_at(":{?v} and", 0, variables)->text, "TRUE");
  EXPECT_EQ(substitution_at(":{?none}", 0, variables)->text, "FALSE");
  EXPECT_EQ(substitution_at(":\"v\"", 0, variables)->text, "\"x\"\"y\"");
  EXPECT_EQ(substitution_at("a:v", 1, variables)->end, 3u);
  for (const char* plain : {":", "::v", ":{?v", ":'v", ":none", "v", ":{v}"})
    EXPECT_FALSE(substitution_at(plain, 0, variables)) << plain;
}

TEST(Conditions, OnePartOfEachRuns) {
  Conditions all;
  EXPECT_TRUE(all.active());
  all.begin_if(false);
  EXPECT_FALSE(all.active());
  all.begin_if(true);  // inside of a part that does not run, nothing does
  EXPECT_FALSE(all.active());
  all.otherwise();
  EXPECT_FALSE(all.active());
  all.end_if();
  EXPECT_TRUE(all.elif_counts());
  all.else_if(true);
  EXPECT_TRUE(all.active());
  EXPECT_FALSE(all.elif_counts());
  all.else_if(true);
  EXPECT_FALSE(all.active());
  all.otherwise();
  EXPECT_FALSE(all.active());
  EXPECT_THROW(all.otherwise(), Failure);
  EXPECT_THROW(all.else_if(true), Failure);
  all.end_if();
  EXPECT_TRUE(all.active());
  EXPECT_THROW(all.end_if(), Failure);
}

TEST(Conditions, TruthHasTheWordsOfPsql) {
  for (const char* yes : {"1", "on", "ON", "t", "true", "y", "yes"})
    EXPECT_TRUE(parse_truth(yes, "x")) << yes;
  for (const char* no : {"0", "off", "f", "false", "n", "no"})
    EXPECT_FALSE(parse_truth(no, "x")) << no;
  for (const char* neither : {"", "2", "o", "maybe", "truest"})
    EXPECT_THROW(static_cast<void>(parse_truth(neither, "x")), Failure) << neither;
}

}  // namespace
}  // namespace snowglobe::cli
