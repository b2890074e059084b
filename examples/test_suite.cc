// examples/test_suite.cc - tests of a program that uses PostgreSQL, each with a database of its
// own: the schema is made once, and put back after every test in about the time of a query.
#include <snowglobe/testing.hpp>

#include <thread>
#include <vector>

namespace {

// What the program under test would have: a shop that never sells what it has not got.
void order(snowglobe::Database& db, const std::string& article, int pieces) {
  db.transact([&](snowglobe::Transaction& tx) {
    tx.execute("update stock set pieces = pieces - $2 where article = $1", article, pieces);
    tx.execute("insert into orders(article, pieces) values ($1, $2)", article, pieces);
  });
}

constexpr const char* kSchema = R"(
  create table stock(article text primary key, pieces int not null check (pieces >= 0));
  create table orders(id serial primary key, article text references stock, pieces int not null);
  insert into stock values ('globe', 10), ('stand', 3);
)";

class ShopTest : public snowglobe::testing::FreshDatabaseOf<ShopTest> {
 public:
  static void set_up_database(snowglobe::Database& db) { db.script(kSchema); }
};

TEST_F(ShopTest, AnOrderTakesFromStock) {
  order(db(), "globe", 4);
  EXPECT_EQ(db().one<int>("select pieces from stock where article = 'globe'"), 6);
  EXPECT_EQ(db().one<int>("select count(*) from orders"), 1);
}

TEST_F(ShopTest, NothingIsSoldThatIsNotThere) {
  EXPECT_THROW(order(db(), "stand", 4), snowglobe::CheckViolation);
  EXPECT_EQ(db().one<int>("select count(*) from orders"), 0);
}

TEST_F(ShopTest, TheOrdersOfOtherTestsAreNotHere) {
  EXPECT_EQ(db().one<int>("select pieces from stock where article = 'globe'"), 10);
  order(db(), "globe", 10);
  // Sequences go back as well, other than after a rollback.
  EXPECT_EQ(db().one<int>("select id from orders"), 1);
}

class BusyShopTest : public snowglobe::testing::ForkedDatabaseOf<BusyShopTest> {
 public:
  static void set_up_database(snowglobe::Database& db) { db.script(kSchema); }
};

TEST_F(BusyShopTest, ScenariosRunSideBySideOnMachinesOfTheirOwn) {
  std::vector<std::thread> threads;
  for (int pieces = 1; pieces <= 3; ++pieces) {
    threads.emplace_back([pieces] {
      snowglobe::Database mine = fork();
      order(mine, "stand", pieces);
      EXPECT_EQ(mine.one<int>("select pieces from stock where article = 'stand'"), 3 - pieces);
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(db().one<int>("select pieces from stock where article = 'stand'"), 3);
}

}  // namespace
