// examples/migration.cc - try a migration on real data, and take it back: a restore undoes what a
// transaction cannot, sequences and all, in a millisecond.
#include <snowglobe/snowglobe.hpp>

#include <cstdio>

namespace {

constexpr const char* kSchema = R"(
  create table customers(id int generated always as identity, name text, phone text);
  insert into customers(name, phone) values
    ('Ada', '+44 20 1234'), ('Grace', '+1 212 5678'), ('Edsger', 'none');
)";

// The last line meets a row that nobody thought of.
constexpr const char* kMigration = R"(
  create table phones(customer int, country int, number text);
  insert into phones select id, split_part(phone, ' ', 1)::int, phone from customers;
  alter table customers drop column phone;
)";

void show(snowglobe::Database& db, const char* when) {
  std::printf("%s: %d customers, columns", when, db.one<int>("select count(*) from customers"));
  for (auto [column] :
       db.query<std::string>("select column_name::text from information_schema.columns where "
                             "table_name = 'customers' "
                             "order by ordinal_position")) {
    std::printf(" %s", column.c_str());
  }
  std::printf("\n");
}

void run() {
  auto db = snowglobe::Database::open_in_memory();
  db.script(kSchema);
  show(db, "before");

  const auto before = db.save("before the migration");
  // Statement by statement, as many tools do it: what went through stays.
  db.execute("alter table customers add column country int");
  try {
    db.script(kMigration);
  } catch (const snowglobe::InvalidTextRepresentation& error) {
    std::printf("failed: %s\n", std::string(error.message()).c_str());
  }
  show(db, "half way");
  db.restore(before);
  show(db, "restored");

  db.execute("update customers set phone = null where phone = 'none'");
  db.script(kMigration);
  show(db, "after");
}

}  // namespace

int main() {
  try {
    run();
    return 0;
  } catch (const snowglobe::Error& error) {
    std::fprintf(stderr, "migration: %s\n", error.what());
    return 1;
  }
}
