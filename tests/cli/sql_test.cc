// tests/cli/sql_test.cc - `snowglobe sql`: statements in, rows out, in every format.
#include "tests/cli/command.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace snowglobe::testing {
namespace {

TEST(Sql, PrintsTablesAsPsqlDoes) {
  const Ran ran =
      snowglobe({"sql", "select 42 as answer, 'x' as word union all select null, e'two\\nlines'"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out,
            " answer | word  \n"
            "--------+-------\n"
            "     42 | x\n"
            "        | two  +\n"
            "        | lines\n"
            "(2 rows)\n");
  EXPECT_EQ(ran.err, "");
}

TEST(Sql, WithoutAVerbAStatementIsEnough) {
  const Ran ran = snowglobe({"select 1 as one", "-A", "-t"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "1\n");
}

TEST(Sql, JsonIsAsToJsonWritesIt) {
  const Ran ran = snowglobe(
      {"sql", "--json",
       "select 1 as i, 2.50 as n, true as b, null as z, 'a\"\\' as t, 'NaN'::float8 as f, "
       "'{\"k\": [1]}'::jsonb as j, 9007199254740993 as big"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  const auto rows = nlohmann::json::parse(ran.out);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0]["i"], 1);
  EXPECT_EQ(rows[0]["b"], true);
  EXPECT_TRUE(rows[0]["z"].is_null());
  EXPECT_EQ(rows[0]["t"], "a\"\\");
  EXPECT_EQ(rows[0]["f"], "NaN");
  EXPECT_EQ(rows[0]["j"]["k"][0], 1);
  EXPECT_NE(ran.out.find("\"n\": 2.50"), std::string::npos);
  EXPECT_NE(ran.out.find("9007199254740993"), std::string::npos);
  EXPECT_EQ(snowglobe({"sql", "--json", "create table t()"}).out,
            "{\"command\":\"CREATE TABLE\"}\n");
  EXPECT_EQ(snowglobe({"sql", "--json", "select 1 where false"}).out, "[]\n");
}

TEST(Sql, CsvAndRecordsAndUnaligned) {
  const std::string two = "select 'a,\"b' as x, null as y";
  EXPECT_EQ(snowglobe({"sql", "--csv", two}).out, "x,y\n\"a,\"\"b\",\n");
  EXPECT_EQ(snowglobe({"sql", "-A", "--null", "-", two}).out, "x|y\na,\"b|-\n(1 row)\n");
  EXPECT_EQ(snowglobe({"sql", "-x", "select 1 as id, 'Ada' as name"}).out,
            "-[ RECORD 1 ]\nid   | 1\nname | Ada\n");
  EXPECT_EQ(snowglobe({"sql", "--csv", "--json", two}).code, 2);
}

TEST(Sql, RunsManyStatementsOnOneSession) {
  const Ran ran =
      snowglobe({"sql", "-At", "create temporary table t(a int); insert into t values (1)",
                 "set search_path = pg_catalog, pg_temp", "select a from t; show search_path"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "1\npg_catalog, pg_temp\n");
}

TEST(Sql, StopsAtTheFirstErrorWithThree) {
  const Ran ran = snowglobe({"sql", "select 1; selec 2; select 3"});
  EXPECT_EQ(ran.code, 3);
  EXPECT_NE(ran.out.find("(1 row)"), std::string::npos);
  EXPECT_EQ(ran.out.find("3"), std::string::npos);
  EXPECT_NE(
      ran.err.find("ERROR:  syntax error at or near \"selec\" (42601)\nLINE 1: selec 2\n        ^"),
      std::string::npos)
      << ran.err;
  const Ran on = snowglobe({"sql", "--go-on", "-At", "selec 2; select 3"});
  EXPECT_EQ(on.code, 3);
  EXPECT_EQ(on.out, "3\n");
}

TEST(Sql, ErrorsAreJsonToo) {
  const Ran ran = snowglobe({"sql", "--json", "select * from no_such_table"});
  EXPECT_EQ(ran.code, 3);
  const auto error = nlohmann::json::parse(ran.err)["error"];
  EXPECT_EQ(error["sqlstate"], "42P01");
  EXPECT_EQ(error["code"], 3);
  EXPECT_EQ(error["position"], 15);
}

TEST(Sql, ReadsFilesAndStandardInputWithDataOfCopy) {
  Folder folder;
  std::ofstream(folder / "schema.sql")
      << "-- a comment\ncreate table t(a int, b text);\n"
         "copy t from stdin;\n1\tone\n2\ttwo\n\\.\n"
         "create function f() returns int language sql as $$ select 7; $$;\n"
         "\\echo loaded\nselect f()";
  const Ran file =
      snowglobe({"sql", "-At", "-f", folder / "schema.sql", "select b from t order by a"});
  EXPECT_EQ(file.code, 0) << file.err;
  EXPECT_EQ(file.out, "loaded\n7\none\ntwo\n");
  EXPECT_EQ(snowglobe({"sql", "-At"}, {.input = "select 1;\nselect\n2"}).out, "1\n2\n");
  EXPECT_EQ(snowglobe({}, {.input = "select 5 as five;"}).out, " five \n------\n    5\n(1 row)\n");
  const Ran copied = snowglobe(
      {"sql", "-At", "create table t(a int)", "copy t from stdin", "select sum(a) from t"},
      {.input = "1\n2\n39\n"});
  EXPECT_EQ(copied.out, "42\n") << copied.err;
  EXPECT_EQ(snowglobe({"sql", "copy (select 1, null) to stdout with csv"}).out, "1,\n");
}

TEST(Sql, CopiesToAndFromFilesOfTheHost) {
  Folder folder;
  const Ran ran =
      snowglobe({"sql", "-At", "create table t as select i, i*i as s from generate_series(1, 3) i",
                 "\\copy t to '" + (folder / "t.csv") + "' csv header", "truncate t",
                 "\\copy t from '" + (folder / "t.csv") + "' csv header", "select sum(s) from t"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "14\n");
  EXPECT_EQ(snowglobe({"sql", "\\copy t from /nowhere"}).code, 4);
}

TEST(Sql, ASingleTransactionHappensWholeOrNot) {
  const Ran ran =
      snowglobe({"sql", "-1", "-At", "create table t(a int)", "insert into t values (1)",
                 "insert into t values ('x')", "select 'not reached'"});
  EXPECT_EQ(ran.code, 3);
  EXPECT_EQ(ran.out, "");
}

TEST(Sql, DescribesWhatIsThere) {
  const std::string schema =
      "create table author(id int primary key, name text not null unique);"
      "create table book(id int generated always as identity primary key, author_id int not null "
      "references author, title text default 'Untitled', price numeric(8,2) check (price >= 0));"
      "create index book_title on book(title); create view cheap as select * from book where price "
      "< 10;"
      "create schema shop; create table shop.item(n int)";
  const Ran book = snowglobe({"sql", schema, "\\d book"});
  EXPECT_EQ(book.code, 0) << book.err;
  for (const char* part :
       {"Table \"public.book\"", "generated always as identity", "'Untitled'::text",
        "\"book_pkey\" PRIMARY KEY, btree (id)", "\"book_title\" btree (title)",
        "\"book_price_check\" CHECK (price >= 0::numeric)",
        "\"book_author_id_fkey\" FOREIGN KEY (author_id) REFERENCES author(id)"})
    EXPECT_NE(book.out.find(part), std::string::npos) << part << "\n" << book.out;
  const Ran author = snowglobe({"sql", schema, "\\d author", "\\d", "\\dt shop.*", "\\dn", "\\dv",
                                "\\di", "\\du", "\\l", "\\dx", "\\df", "\\d+ cheap"});
  EXPECT_EQ(author.code, 0) << author.err;
  for (const char* part :
       {"Referenced by:", "TABLE \"book\" CONSTRAINT \"book_author_id_fkey\"",
        "\"author_name_key\" UNIQUE CONSTRAINT, btree (name)", "List of relations", "book_id_seq",
        "item", "List of schemas", "shop", "List of roles", "Superuser", "List of databases",
        "template1", "plpgsql", "View definition:"})
    EXPECT_NE(author.out.find(part), std::string::npos) << part << "\n" << author.out;
  EXPECT_NE(snowglobe({"sql", "\\d nothing"}).code, 0);
  EXPECT_NE(snowglobe({"sql", "\\dconfig work_mem"}).out.find("4MB"), std::string::npos);
}

TEST(Sql, VariablesAndResultsFeedEachOther) {
  const Ran ran = snowglobe({"sql", "-At", "\\set name 'O''Hara'", "select :'name'",
                             "select 6 as six \\gset", "select :six * 7"});
  EXPECT_EQ(ran.out, "O'Hara\n42\n") << ran.err;
}

TEST(Sql, ScriptsBranchAskAndGenerate) {
  const Ran ran = snowglobe({"sql", "-At"}, {.input = R"(\set big `echo 12`
select :big > 10 as many \gset
\if :many
  select 'many';
  \if false
    select 'not this' \g
    \i /nowhere
  \elif true
    \echo inner
  \endif
\else
  select 'few';
  \! echo never
\endif
\if :{?none} \echo no \else \echo unset \endif
select format('create table t%s(n int)', i) from generate_series(1, 2) i \gexec
select count(*) from pg_class where relname in ('t1', 't2');
select 1 as n, 'x'::varchar(3) as x \gdesc
\echo :ROW_COUNT :ERROR :SQLSTATE
\setenv SNOWGLOBE_TEST seen
\getenv got SNOWGLOBE_TEST
\echo :got :DBNAME :'USER' :"USER"
)"});
  EXPECT_EQ(ran.out,
            "many\ninner\nunset\n2\nn|integer\nx|character varying(3)\n1 false 00000\n"
            "seen postgres 'postgres' \"postgres\"\n")
      << ran.err;
  const Ran open = snowglobe({"sql", "-At"}, {.input = "\\if true\nselect 1;\n"});
  EXPECT_EQ(open.code, 3);
  EXPECT_NE(open.err.find("\\endif"), std::string::npos) << open.err;
  const Ran lost = snowglobe({"sql"}, {.input = "\\else\n"});
  EXPECT_EQ(lost.code, 2) << lost.err;
}

TEST(Sql, VariablesChangeHowItWorks) {
  const Ran ran = snowglobe({"sql", "-At", "--go-on"}, {.input = R"(\set ECHO queries
select 1;
\set ECHO none
\set ON_ERROR_ROLLBACK on
begin; create table kept(n int); select nonsense; insert into kept values (1); commit;
select count(*) from kept;
\set AUTOCOMMIT off
insert into kept values (2);
rollback;
\set AUTOCOMMIT on
select count(*) from kept;
\set VERBOSITY terse
select nothing;
\echo :LAST_ERROR_SQLSTATE
\errverbose
)"});
  EXPECT_EQ(ran.code, 3);
  EXPECT_EQ(ran.out.substr(0, 24), "select 1\n1\n1\n1\n42703\nERR") << ran.out << ran.err;
  EXPECT_NE(ran.err.find("ERROR:  column \"nothing\" does not exist\n"), std::string::npos)
      << ran.err;
}

TEST(Sql, FilesIncludeOthersBesideThem) {
  Folder folder;
  std::filesystem::create_directory(folder / "sub");
  std::ofstream(folder / "main.sql") << "\\i '" << (folder / "sub/one.sql") << "'\n";
  std::ofstream(folder / "sub/one.sql") << "\\ir two.sql\nselect 'one';\n";
  std::ofstream(folder / "sub/two.sql") << "select 'two';\n";
  const Ran ran = snowglobe({"sql", "-At", "-f", folder / "main.sql"});
  EXPECT_EQ(ran.out, "two\none\n") << ran.err;
  EXPECT_EQ(snowglobe({"sql", "\\i " + folder.path().string()}).code, 2);
}

TEST(Sql, WatchesAndHelpsAndWrites) {
  Folder folder;
  const Ran ran = snowglobe({"sql", "select 1 as n \\watch i=0.01 c=2", "\\h rollback to",
                             "select 5 as five \\g " + (folder / "five"),
                             "select 7 as seven \\gx |tr a-z A-Z"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  std::size_t times = 0;
  for (std::size_t at = 0; (at = ran.out.find("(every 0.01s)", at)) != std::string::npos; ++at)
    ++times;
  EXPECT_EQ(times, 2u) << ran.out;
  EXPECT_NE(ran.out.find("ROLLBACK [ WORK | TRANSACTION ] TO"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("SEVEN | 7"), std::string::npos) << ran.out;
  std::ifstream five(folder / "five");
  std::string line;
  std::getline(five, line);
  EXPECT_EQ(line, " five ");
  EXPECT_EQ(snowglobe({"sql", "select 1 \\watch soon"}).code, 2);
}

TEST(Sql, UserAndDatabaseComeFromTheEnvironmentHostAndPortDoNot) {
  const Ran ran = snowglobe(
      {"sql", "-At",
       "select current_user, current_database(), current_setting('application_name')"},
      {.environment = {"PGHOST=192.0.2.1", "PGPORT=1", "PGDATABASE=template1", "PGAPPNAME=me"}});
  EXPECT_EQ(ran.out, "postgres|template1|me\n") << ran.err;
  const Ran nobody = snowglobe({"sql", "select 1"}, {.environment = {"PGUSER=nobody"}});
  EXPECT_EQ(nobody.code, 3);
  EXPECT_NE(nobody.err.find("PGUSER"), std::string::npos) << nobody.err;
}

TEST(Sql, NoticesAreOnStderr) {
  const std::string sql = "do $$ begin raise notice 'by the way'; raise warning 'look out'; end $$";
  const Ran ran = snowglobe({"sql", sql});
  EXPECT_EQ(ran.out, "");
  EXPECT_EQ(ran.err, "NOTICE:  by the way\nWARNING:  look out\n");
  EXPECT_EQ(snowglobe({"sql", "-q", sql}).err, "WARNING:  look out\n");
}

TEST(Sql, AFullStandardOutputIsAFailure) {
  const Ran ran =
      run_program({"sh", "-c", std::string(SNOWGLOBE_COMMAND) + " sql 'select 1' >/dev/full"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_NE(ran.err.find("standard output"), std::string::npos) << ran.err;
}

}  // namespace
}  // namespace snowglobe::testing
