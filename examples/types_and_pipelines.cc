// examples/types_and_pipelines.cc - rows as structs, dates as std::chrono, arrays as vectors, and
// many statements for the price of one wait.
#include <snowglobe/snowglobe.hpp>

#include <cstdio>

namespace {

using namespace std::chrono_literals;

struct Person {
  int id = 0;
  std::string name;
  std::optional<std::chrono::year_month_day> born;
  std::vector<std::string> titles;
};

void run() {
  auto db = snowglobe::Database::open_in_memory();
  db.script("create table people(id int primary key, name text, born date, titles text[])");

  auto session = db.session();
  auto pipeline = session.pipeline();
  constexpr const char* kInsert = "insert into people values ($1, $2, $3, $4)";
  pipeline.push(kInsert, 1, "Ada", 1815y / 12 / 10,
                std::vector<std::string>{"Countess", "\"Lady\""});
  pipeline.push(kInsert, 2, "Nobody", std::nullopt, std::vector<std::string>{});
  const auto count = pipeline.push("select count(*) from people");
  pipeline.sync();
  std::printf("%d people\n", count.one<int>());

  for (const Person& person : db.query<Person>("select * from people order by id")) {
    std::printf("%s, born %d, %zu titles\n", person.name.c_str(),
                person.born ? static_cast<int>(person.born->year()) : 0, person.titles.size());
  }
}

}  // namespace

int main() {
  try {
    run();
    return 0;
  } catch (const snowglobe::Error& error) {
    std::fprintf(stderr, "types_and_pipelines: %s\n", error.what());
    return 1;
  }
}
