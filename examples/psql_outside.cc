// examples/psql_outside.cc - let a program outside in: here psql, which is started by this one. Who
// is not let in finds nothing that listens.
#include <snowglobe/snowglobe.hpp>

#include <cstdio>
#include <cstdlib>

namespace {

void run() {
  auto db = snowglobe::Database::open_in_memory();
  db.script(
      "create table people(id int primary key, name text);"
      "insert into people values (1, 'Ada'), (2, 'Grace')");

  const snowglobe::Endpoint door = db.expose();  // 127.0.0.1, a free port, a random password
  const std::string line = door.psql() + " -X -A -t -c 'select id, name from people order by id'";
  std::printf("psql says:\n");
  std::fflush(stdout);
  if (std::system(line.c_str()) != 0) throw snowglobe::InvalidArgument("psql failed");  // NOLINT

  db.hide(door);
  std::printf("hidden again: %s\n",
              std::system((line + " 2>/dev/null").c_str()) == 0 ? "no" : "yes");  // NOLINT
}

}  // namespace

int main() {
  try {
    run();
    return 0;
  } catch (const snowglobe::Error& error) {
    std::fprintf(stderr, "psql_outside: %s\n", error.what());
    return 1;
  }
}
