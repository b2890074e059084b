// examples/quickstart.cc - a PostgreSQL inside this process: open it, use it, and see what each
// step costs.
#include <snowglobe/snowglobe.hpp>

#include <chrono>
#include <cstdio>
#include <optional>
#include <string>

namespace {

/// Prints how long a step took, when it goes out of scope.
class Step {
 public:
  explicit Step(const char* name) : name_(name) {}
  ~Step() {
    const std::chrono::duration<double, std::milli> took =
        std::chrono::steady_clock::now() - start_;
    std::printf("  [%8.1f ms] %s\n", took.count(), name_);
  }

 private:
  const char* name_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

snowglobe::Database open() {
  const Step step("opened a database: a whole machine runs in this process now");
  return snowglobe::Database::open_in_memory();
}

void run() {
  snowglobe::Database db = open();
  {
    const Step step("asked for its version");
    std::printf("%s\n", db.version().c_str());
  }
  {
    const Step step("created a table");
    db.execute("create table people(id int primary key, name text not null, born date)");
  }
  {
    const Step step("inserted three rows with parameters, in one transaction");
    db.transact([](snowglobe::Transaction& tx) {
      tx.execute("insert into people values ($1, $2, $3)", 1, "Ada", "1815-12-10");
      tx.execute("insert into people values ($1, $2, $3)", 2, "Grace", "1906-12-09");
      tx.execute("insert into people values ($1, $2, $3)", 3, "Anonymous", std::nullopt);
    });
  }
  {
    const Step step("read typed rows back");
    for (const auto& [id, name, born] : db.query<int, std::string, std::optional<std::string>>(
             "select * from people order by id")) {
      std::printf("%d  %-10s %s\n", id, name.c_str(), born.value_or("(unknown)").c_str());
    }
  }
  {
    const Step step("was refused a duplicate");
    try {
      db.execute("insert into people values ($1, $2)", 1, "Another Ada");
    } catch (const snowglobe::UniqueViolation& error) {
      std::printf("unique_violation: %s\n", std::string(error.detail()).c_str());
    }
  }
  {
    const Step step("closed it");
    db.close();
  }
}

}  // namespace

int main() {
  try {
    run();
    return 0;
  } catch (const snowglobe::Error& error) {
    std::fprintf(stderr, "quickstart: %s\n", error.what());
    return 1;
  }
}
