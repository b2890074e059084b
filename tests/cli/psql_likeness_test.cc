// tests/cli/psql_likeness_test.cc - what our own shell prints, beside what the guest's psql prints
// for the same command on the same database.
#include "tests/cli/command.h"

#include <gtest/gtest.h>
#include <sstream>

namespace snowglobe::testing {
namespace {

const char* const kSchema = R"sql(
create table author(id int primary key, name text not null unique, mail varchar(80) collate "C");
create table book(id int generated always as identity primary key,
  author_id int not null references author on delete cascade, title text default 'Untitled',
  price numeric(8,2) check (price >= 0), at timestamptz default now(),
  twice numeric generated always as (price * 2) stored);
create index book_title on book(title) where price > 3;
create unique index book_two on book(author_id, title);
create view cheap as select id, title from book where price < 10;
create materialized view dear as select id, price from book where price > 100;
comment on table book is 'What we sell';
comment on column book.title is 'as printed';
create schema shop; create table shop.item(n int);
create sequence ticket start 5 increment 2;
create type mood as enum ('sad', 'ok', 'happy');
create type pair as (a int, b text);
create table log(at date, what text) partition by range (at);
create table log_2024 partition of log for values from ('2024-01-01') to ('2025-01-01');
create table parent(a int); create table child(b int) inherits (parent);
create function add(a int, b int default 2) returns int language sql immutable as 'select a + b';
create procedure nothing() language sql as 'select 1';
create aggregate total(int) (sfunc = int4pl, stype = int);
create function note() returns trigger language plpgsql as 'begin return new; end';
create trigger book_note before insert or update on book for each row execute function note();
alter table author enable row level security;
create policy mine on author using (name = current_user);
create role clerk login; create role staff; grant staff to clerk;
grant select, insert on book to clerk; grant update (title) on book to staff;
create extension pgcrypto;
alter table book add constraint cheap_enough check (price < 1000) not valid;
create table odd ("Quoted Name" int, "ünïcode" text, xs int[], m mood);
create unlogged table quick(a int); alter table quick replica identity full;
)sql";

/// Cut where "@@" stands alone, without the line that psql leaves below each table; in a script we
/// do not.
std::vector<std::string> parts_of(const std::string& output) {
  std::vector<std::string> parts(1);
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (line == "@@") {
      while (parts.back().ends_with("\n\n"))
        parts.back().pop_back();
      parts.emplace_back();
    } else {
      parts.back() += line + "\n";
    }
  }
  return parts;
}

/// Runs each piece of a script in our shell and in the guest's psql, on two machines after the same
/// `schema`, and compares what they print.
void expect_alike(const std::vector<std::string>& pieces, const std::string& schema = {}) {
  std::string script = schema;
  for (const std::string& piece : pieces)
    script += piece + "\n\\echo @@\n";
  const Ran our_run = snowglobe({"sql", "--go-on"}, {.input = script});
  const Ran their_run =
      snowglobe({"exec", "-i", "--", "psql", "-X", "-q", "-f", "-"}, {.input = script});
  const auto ours = parts_of(our_run.out), theirs = parts_of(their_run.out);
  ASSERT_EQ(ours.size(), pieces.size() + 1) << our_run.err;
  ASSERT_EQ(theirs.size(), pieces.size() + 1) << their_run.err;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    EXPECT_EQ(ours[i], theirs[i]) << pieces[i];
}

TEST(PsqlLikeness, CatalogueCommandsPrintTheSame) {
  const std::vector<std::string> commands = {
      "\\d",           "\\d+",          "\\dt",       "\\dt+",        "\\dt shop.*",
      "\\di",          "\\di+",         "\\dv",       "\\dm",         "\\ds",
      "\\dn",          "\\dn+",         "\\du",       "\\du+",        "\\l",
      "\\dx",          "\\df",          "\\df+ add",  "\\dfn add",    "\\dft",
      "\\da",          "\\dT",          "\\dT+ mood", "\\dp book",    "\\z",
      "\\d author",    "\\d+ author",   "\\d book",   "\\d+ book",    "\\d cheap",
      "\\d+ cheap",    "\\d dear",      "\\d+ dear",  "\\d ticket",   "\\d book_title",
      "\\d+ book_two", "\\d log",       "\\d+ log",   "\\d log_2024", "\\d+ log_2024",
      "\\d parent",    "\\d+ parent",   "\\d child",  "\\d pair",     "\\d odd",
      "\\d+ odd",      "\\d shop.item", "\\d quick",  "\\d+ quick",   "\\d book_id_seq",
      "\\dS pg_am",    "\\sf add",      "\\d nothing"};
  expect_alike(commands, kSchema);
}

TEST(PsqlLikeness, TablesAreDrawnTheSame) {
  const std::vector<std::string> commands = {
      "select 1 as one, 'two' as two, null as nothing, true as yes;",
      "select 'first' || chr(10) || 'second' as lines, 2 as two;",
      "select 'a' || chr(9) || 'b' as tab, 'ünï' as \"größer\", '漢字' as wide;",
      "select 1 as id, 'x' as name where false;",
      "select i, i * 1.5 as x, array[i, i] as xs from generate_series(9, 11) i;",
      "select;",
      "select from generate_series(1, 2);",
      "select 1 as \"a b\", now() - now() as \"interval\", '{\"a\": 1}'::jsonb as j;"};
  expect_alike(commands);
}

/// A table with all that makes drawing hard: several lines, wide characters, NULL, headers that are
/// long or have lines of their own.
const char* const kTable = R"sql(select * from (values
  (1, 'short', 'a value that is long enough to be cut where the window ends', 1.5, null),
  (22, E'two\nlines', '漢字 and ünï', -3, 't'::bool),
  (333, '', E'\ttab', null, 'f')) as t(n, "two
lines", "a longer name of a column", price, yes);)sql";

TEST(PsqlLikeness, EachBorderAndFormatIsDrawnTheSame) {
  std::vector<std::string> pieces;
  for (const char* style : {"ascii", "unicode"}) {
    for (const char* border : {"0", "1", "2"}) {
      for (const char* format : {"aligned", "wrapped"}) {
        pieces.push_back(std::string("\\pset linestyle ") + style + "\n\\pset border " + border +
                         "\n\\pset format " + format + "\n\\pset columns 50\n" + kTable);
        pieces.push_back(std::string("\\x on\n") + kTable);
        pieces.push_back(std::string("\\t on\n") + kTable);
        pieces.push_back(std::string("\\x off\n") + kTable);
        pieces.push_back(std::string("\\t off\n\\x auto\n") + kTable);
        pieces.emplace_back("select 1 as one;");
        pieces.emplace_back("\\x on\nselect 1 as one, 'x' as two union all select 2, 'yy';");
        pieces.emplace_back("select 1 as one where false;\n\\x off");
        pieces.emplace_back("select 1 as one where false;");
        pieces.emplace_back("select;");
        pieces.emplace_back("select 1 as \"名前\", repeat('xyz ', 30) as many, 2 as two;");
      }
    }
  }
  expect_alike(pieces);
}

TEST(PsqlLikeness, EachFormatThatIsNoTableIsWrittenTheSame) {
  std::vector<std::string> pieces;
  for (const char* format : {"unaligned", "csv", "html"}) {
    pieces.push_back(std::string("\\pset format ") + format + "\n" + kTable);
    for (const char* setting :
         {"\\pset null '(none)'", "\\pset title 'A <title>'", "\\pset fieldsep ' & '",
          "\\pset csv_fieldsep ';'", "\\pset recordsep '|\\n'", "\\t on", "\\x on", "\\t off",
          "\\pset footer off", "\\x off", "\\pset border 2", "\\d pg_am_name_index",
          "\\pset null ''\n\\pset title\n\\f |\n\\pset csv_fieldsep ,\n\\pset recordsep '\\n'\n"
          "\\pset footer on\n\\pset border 1"})
      pieces.push_back(std::string(setting) + "\n" + kTable);
    pieces.emplace_back("select 1 as one where false;");
    pieces.emplace_back("select;");
  }
  expect_alike(pieces);
}

TEST(PsqlLikeness, TitlesFootersAndSettings) {
  expect_alike({"\\C 'A title'\nselect 1 as a, 2 as b;", "\\x\nselect 1 as a, 2 as b;",
                "\\pset border 2\nselect 1 as a, 2 as b;", "\\x\nselect 1 as a, 2 as b;",
                "\\pset footer off\nselect 1 as a, 2 as b;",
                "\\pset title\n\\pset border 1\n\\pset null NULL\nselect null as a;",
                "\\a\nselect null as a, 2 as b;", "\\a\nselect null as a, 2 as b;",
                "\\H\nselect null as a, 2 as b;", "\\H\n\\pset footer on\n\\x\n\\d pg_am",
                "\\pset border 2\n\\d pg_am", "\\t\n\\d pg_am\n\\t\\x", "\\d pg_am",
                "\\pset format u\nselect 1, 2;"});
}

TEST(PsqlLikeness, CrosstabsAndBoundValues) {
  const std::string sales =
      "select * from (values ('north', 'may', 5, 2), ('south', 'april', 7, 1),"
      " ('north', 'april', 1, 1), (null, 'june', null, 3))"
      " as t(place, month, sold, nr) \\crosstabview ";
  expect_alike({sales + "place month sold", sales + "place month sold nr", sales + "1 2 3 4",
                sales + "month place sold", "\\pset null -\n" + sales + "place month sold nr",
                "select 'a' as \"A b\", 1 as y, 2.5 as z \\crosstabview \"A b\" Y",
                "select 1 as x, 2 as y, 3 as z \\crosstabview y x",
                "\\pset format csv\n" + sales + "place month sold",
                "\\pset format aligned\nselect $1::int + $2 as sum \\bind 40 2 \\g",
                "select $1 as text, $2::date \\bind 'it''s' '2024-05-01'\n;",
                "\\bind 5 \\g\nselect 6 as six;", "select 1 as n \\gx", "select 2 as n;"});
}

TEST(PsqlLikeness, WhatCannotBeAGridIsSaidInPsqlsWords) {
  std::string script;
  for (const char* columns :
       {"", "place place sold", "place nr sold", "place 9 sold", "place what"})
    script += std::string(
                  "select * from (values ('north', 1, 1, 1), ('north', 2, 2, 1)) "
                  "as t(place, month, sold, nr) \\crosstabview ") +
              columns + "\n";
  const Ran ran =
      snowglobe({"sql", "--go-on"}, {.input = script + "create table t() \\crosstabview"});
  for (const char* words :
       {"data column must be specified when query returns more than three columns",
        "vertical and horizontal headers must be different columns",
        "multiple data values for row \"north\", column \"1\"",
        "column number 9 is out of range 1..4", "column name not found: \"what\"",
        "statement did not return a result set"})
    EXPECT_NE(ran.err.find(words), std::string::npos) << words << "\n" << ran.err;
  EXPECT_NE(ran.code, 0);
}

}  // namespace
}  // namespace snowglobe::testing
