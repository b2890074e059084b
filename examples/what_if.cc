// examples/what_if.cc - fork a database to try something: two machines go on from one moment, and
// neither sees what the other does.
#include <snowglobe/snowglobe.hpp>

#include <cstdio>

namespace {

struct Plan {
  std::string name;
  double raise;
};

void run() {
  auto db = snowglobe::Database::open_in_memory();
  db.script(
      "create table wages(name text primary key, wage numeric(10,2));"
      "insert into wages select 'person ' || i, 1000 + 10 * i from generate_series(1, 100) i");
  const auto now = db.save();
  for (const Plan& plan : {Plan{"careful", 1.01}, Plan{"bold", 1.10}}) {
    snowglobe::Database trial = db.fork(now);
    trial.execute("update wages set wage = wage * $1::numeric where wage < 1500",
                  std::to_string(plan.raise));
    std::printf("%s: %s\n", plan.name.c_str(),
                trial.one<std::string>("select sum(wage)::text from wages").c_str());
  }
  std::printf("as it is: %s\n", db.one<std::string>("select sum(wage)::text from wages").c_str());
}

}  // namespace

int main() {
  try {
    run();
    return 0;
  } catch (const snowglobe::Error& error) {
    std::fprintf(stderr, "what_if: %s\n", error.what());
    return 1;
  }
}
