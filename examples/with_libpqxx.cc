// examples/with_libpqxx.cc - another library on the same database: whatever is built on libpq takes
// conninfo() as its connection string, in this process.
#include <snowglobe/snowglobe.hpp>

#include <cstdio>
#include <pqxx/pqxx>

namespace {

void run() {
  auto db = snowglobe::Database::open_in_memory();
  db.script("create table people(id int primary key, name text)");

  pqxx::connection connection(db.conninfo());
  {
    pqxx::work work(connection);
    work.exec_params("insert into people values ($1, $2)", 1, "Ada");
    pqxx::stream_to stream(work, "people");
    stream << std::make_tuple(2, "Grace") << std::make_tuple(3, "Edsger");
    stream.complete();
    work.commit();
  }
  for (auto [id, name] : db.query<int, std::string>("select * from people order by id"))
    std::printf("%d %s\n", id, name.c_str());
  try {
    pqxx::nontransaction work(connection);
    work.exec("insert into people values (1, 'Ada again')");
  } catch (const pqxx::unique_violation& error) {
    std::printf("libpqxx: %s\n", error.sqlstate().c_str());
  }
}

}  // namespace

int main() {
  try {
    run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "with_libpqxx: %s\n", error.what());
    return 1;
  }
}
