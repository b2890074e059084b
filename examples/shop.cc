// examples/shop.cc - an application that ships with its database: a folder beside it, no server to
// install, and orders that outlive whatever happens to the process.
//
//   shop FOLDER order ARTICLE   sells one
//   shop FOLDER report          says what was sold
//   shop FOLDER crash           sells one and kills itself: try `report` afterwards
#include <snowglobe/snowglobe.hpp>

#include <csignal>
#include <cstdio>
#include <string>

namespace {

constexpr const char* kSchema = R"(
  create table if not exists articles(name text primary key, stock int not null check (stock >= 0));
  create table if not exists orders(id int generated always as identity primary key,
                                    article text not null references articles,
                                    at timestamptz not null default now());
  insert into articles values ('lamp', 100), ('chair', 100) on conflict do nothing;
)";

// When it returns the order is on the disk: the default durability is `full`.
int order(snowglobe::Database& db, const std::string& article) {
  return db.transact([&](snowglobe::Transaction& tx) {
    tx.execute("update articles set stock = stock - 1 where name = $1", article);
    return tx.one<int>("insert into orders(article) values ($1) returning id", article);
  });
}

void report(snowglobe::Database& db) {
  for (auto [name, stock, sold] : db.query<std::string, int, int>(
           "select name, stock, (select count(*)::int from orders where article = name) "
           "from articles order by name"))
    std::printf("%-8s %4d in stock, %d sold\n", name.c_str(), stock, sold);
}

int run(const std::string& folder, const std::string& verb, const std::string& article) {
  snowglobe::Options options;
  options.restart = snowglobe::Restart::automatic;
  snowglobe::Database db = snowglobe::Database::open(folder, options);
  std::printf("opened '%s' (%s)\n", folder.c_str(), db.info().started.c_str());
  db.script(kSchema);
  if (verb == "order") {
    std::printf("order %d\n", order(db, article));
  } else if (verb == "crash") {
    std::printf("order %d, and the process dies\n", order(db, "lamp"));
    std::fflush(stdout);
    std::raise(SIGKILL);
  } else {
    report(db);
  }
  return 0;  // the destructor puts the machine down beside its disk
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) {
    std::fprintf(stderr, "usage: shop FOLDER order ARTICLE | report | crash\n");
    return 2;
  }
  try {
    return run(arguments[1], arguments[2], count > 3 ? arguments[3] : "lamp");
  } catch (const snowglobe::DatabaseLocked& locked) {
    std::fprintf(stderr, "the shop is open elsewhere: %s\n", locked.what());
    return 5;
  } catch (const snowglobe::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
