// tests/cli/psql_likeness_test.cc - what our own shell prints, beside what the guest's psql prints
// for the same command on the same database.
#include "tests/cli/command.h"

#include <fstream>
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

/// Both answers to each command: ours, then psql's.
std::vector<std::pair<std::string, std::string>> answers(const std::vector<std::string>& commands) {
  Folder folder;
  std::ofstream script(folder / "all.sql");
  script << kSchema;
  for (const std::string& command : commands) {
    script << command << (command[0] == '\\' ? "" : ";") << "\n\\echo @@\n";
    std::string quoted;
    for (const char c : command)
      quoted += c == '\'' ? "'\\''" : std::string(1, c);
    script << "\\guest psql -X -U postgres -c '" << quoted << "'\n\\echo @@\n";
  }
  script.close();
  const Ran ran = snowglobe({"sql", "--go-on", "-f", folder / "all.sql"});
  std::vector<std::string> parts(1);
  std::istringstream lines(ran.out);
  for (std::string line; std::getline(lines, line);) {
    if (line == "@@") {
      // psql leaves a line below each table; in a script we do not.
      while (parts.back().ends_with("\n\n"))
        parts.back().pop_back();
      parts.emplace_back();
    } else {
      parts.back() += line + "\n";
    }
  }
  EXPECT_EQ(parts.size(), commands.size() * 2 + 1) << ran.err;
  std::vector<std::pair<std::string, std::string>> both;
  for (std::size_t i = 0; i + 1 < parts.size(); i += 2)
    both.emplace_back(parts[i], parts[i + 1]);
  return both;
}

TEST(PsqlLikeness, CatalogueCommandsPrintTheSame) {
  const std::vector<std::string> commands = {
      "\\d",           "\\d+",          "\\dt",        "\\dt+",        "\\dt shop.*",
      "\\di",          "\\di+",         "\\dv",        "\\dm",         "\\ds",
      "\\dn",          "\\dn+",         "\\du",        "\\du+",        "\\l",
      "\\dx",          "\\df",          "\\df+ add",   "\\dfn add",    "\\dft",
      "\\da",          "\\dT",          "\\dT+ mood",  "\\dp book",    "\\z",
      "\\d author",    "\\d+ author",   "\\d book",    "\\d+ book",    "\\d cheap",
      "\\d+ cheap",    "\\d dear",      "\\d+ dear",   "\\d ticket",   "\\d book_title",
      "\\d+ book_two", "\\d log",       "\\d+ log",    "\\d log_2024", "\\d+ log_2024",
      "\\d parent",    "\\d+ parent",   "\\d child",   "\\d pair",     "\\d odd",
      "\\d+ odd",      "\\d shop.item", "\\d quick",   "\\d+ quick",   "\\d book_id_seq",
      "\\dS pg_am",    "\\sf add",      "\\d nothing", "\\dt nothing"};
  const auto both = answers(commands);
  ASSERT_EQ(both.size(), commands.size());
  for (std::size_t i = 0; i < commands.size(); ++i)
    EXPECT_EQ(both[i].first, both[i].second) << commands[i];
}

TEST(PsqlLikeness, TablesAreDrawnTheSame) {
  const std::vector<std::string> commands = {
      "select 1 as one, 'two' as two, null as nothing, true as yes",
      "select 'first' || chr(10) || 'second' as lines, 2 as two",
      "select 'a' || chr(9) || 'b' as tab, 'ünï' as \"größer\", '漢字' as wide",
      "select * from author",
      "select i, i * 1.5 as x, array[i, i] as xs from generate_series(9, 11) i",
      "select",
      "select from generate_series(1, 2)",
      "select 1 as \"a b\", now() - now() as \"interval\", '{\"a\": 1}'::jsonb as j"};
  const auto both = answers(commands);
  ASSERT_EQ(both.size(), commands.size());
  for (std::size_t i = 0; i < commands.size(); ++i)
    EXPECT_EQ(both[i].first, both[i].second) << commands[i];
}

}  // namespace
}  // namespace snowglobe::testing
