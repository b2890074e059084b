// tests/guest/persist_bank.cc - a bank, and a ledger outside of it.
#include "tests/guest/persist_bank.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <new>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace snowglobe::testing {

using Clock = std::chrono::steady_clock;

Bank::Bank() {
  void* const shared =
      ::mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) throw std::bad_alloc();
  ledger_ = new (shared) Ledger;
  for (auto& count : ledger_->restoring_to)
    count = -1;
}

Bank::~Bank() {
  ::munmap(ledger_, sizeof(Ledger));
}

void Bank::found(Database& db) const {
  db.script(R"(
    create table accounts(id int primary key, n int not null check (n >= -1000000));
    create table ledger(worker int, seq int, source int, target int, amount int,
                        primary key (worker, seq));
    create index on ledger(source, target))");
  db.execute("insert into accounts select i, $1 from generate_series(0, $2 - 1) i", kBalance,
             kAccounts);
}

void Bank::during(Phase phase, const std::function<void()>& action) const {
  const Phase before = ledger_->phase.exchange(phase);
  const auto start = Clock::now();
  action();
  ledger_->took[static_cast<int>(phase)] =
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
  ledger_->phase = before;
}

void Bank::transfer(Session& session, int client, std::minstd_rand& random) const {
  const int seq = ledger_->begun[client] + 1;
  const int source = static_cast<int>(random() % kAccounts);
  const int target = static_cast<int>(random() % kAccounts);
  const int amount = static_cast<int>(random() % 100);
  session.transact([&](Transaction& tx) {
    // In the order of their ids: clients that wait for each other take PostgreSQL a second.
    tx.execute("update accounts set n = n + $1 where id = $2", source < target ? -amount : amount,
               std::min(source, target));
    tx.execute("update accounts set n = n + $1 where id = $2", source < target ? amount : -amount,
               std::max(source, target));
    tx.execute("insert into ledger values ($1, $2, $3, $4, $5)", client, seq, source, target,
               amount);
    ledger_->begun[client] = seq;  // it may be committed from here on
  });
  ledger_->acknowledged[client] = seq;
}

void Bank::work(Database& db, int count, const std::function<void()>& beside,
                std::chrono::milliseconds pause) const {
  std::vector<std::thread> threads;
  for (int client = 0; client < kClients; ++client) {
    threads.emplace_back([this, &db, client, count, pause] {
      std::minstd_rand random(static_cast<unsigned>(::getpid() * 10 + client));
      Session session = db.session();
      for (int i = 0; i < count; ++i) {
        transfer(session, client, random);
        std::this_thread::sleep_for(pause);
      }
    });
  }
  if (beside) beside();
  for (std::thread& thread : threads)
    thread.join();
}

std::array<int, kClients> Bank::acknowledged() const {
  std::array<int, kClients> counts{};
  std::ranges::copy(ledger_->acknowledged, counts.begin());
  return counts;
}

void Bank::restore(Database& db, const Snapshot& snapshot,
                   const std::array<int, kClients>& then) const {
  std::ranges::copy(then, ledger_->restoring_to.begin());
  during(Phase::restore, [&] { db.restore(snapshot); });
  std::ranges::copy(then, ledger_->begun.begin());
  std::ranges::copy(then, ledger_->acknowledged.begin());
  for (auto& count : ledger_->restoring_to)
    count = -1;
}

void Bank::check(Database& db) const {
  std::array<int, kClients> have{};
  for (auto [client, rows, last] : db.query<int, int, int>(
           "select worker, count(*)::int, max(seq) from ledger group by worker")) {
    EXPECT_EQ(rows, last) << "client " << client << " has holes";
    have[client] = last;
  }
  check_counts(have);
  check_copy(db);
  db.script("create extension if not exists amcheck");
  static_cast<void>(db.query(R"(
      select bt_index_check(c.oid, true) from pg_class c join pg_index i on i.indexrelid = c.oid
      where c.relam = 403 and c.relpersistence = 'p' and i.indisvalid)"));
  EXPECT_EQ(db.one<int>("select count(*)::int from verify_heapam('ledger')"), 0);
  EXPECT_EQ(db.one<int>("select count(*)::int from verify_heapam('accounts')"), 0);
  for (int client = 0; client < kClients; ++client) {
    ledger_->begun[client] = ledger_->acknowledged[client] = have[client];
    ledger_->restoring_to[client] = -1;
  }
}

void Bank::check_copy(Database& copy) {
  EXPECT_EQ(copy.one<int>("select sum(n)::int from accounts"), kAccounts * kBalance);
  EXPECT_EQ(copy.one<int>(R"(
      select count(*)::int from accounts a where n <> $1 +
        (select coalesce(sum(amount), 0) from ledger where target = a.id) -
        (select coalesce(sum(amount), 0) from ledger where source = a.id))",
                          kBalance),
            0);
}

void Bank::check_counts(const std::array<int, kClients>& have) const {
  bool restored = true;
  for (int client = 0; client < kClients; ++client)
    restored = restored && have[client] == ledger_->restoring_to[client];
  if (restored) return;
  for (int client = 0; client < kClients; ++client) {
    EXPECT_GE(have[client], ledger_->acknowledged[client]) << "a commit was lost";
    EXPECT_LE(have[client], ledger_->begun[client]) << "what nobody committed is there";
  }
}

}  // namespace snowglobe::testing
