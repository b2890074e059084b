// tests/guest/persist_bank.h - a bank whose clients transfer money, and a ledger outside of the
// database and of the process that has it open: what each client was about to commit, and what it
// was told. After whatever happened to that process, check() holds the one against the other.
#pragma once

#include <snowglobe/snowglobe.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <string>

namespace snowglobe::testing {

inline constexpr int kClients = 4;

/// What a process does to a database.
enum class Phase : int { none, open, work, close, save, restore, compact, backup, growth };
inline constexpr int kPhases = 9;

/// In memory that processes share: written by who has the database, read by who killed it.
struct Ledger {
  std::array<std::atomic<int>, kClients> begun{}, acknowledged{};
  /// What a restore under way goes back to; -1: none was begun.
  std::array<std::atomic<int>, kClients> restoring_to{};
  std::atomic<Phase> phase{Phase::none};  ///< under way
  /// How long the last one of each kind took, in microseconds; 0: none came to its end.
  std::array<std::atomic<std::int64_t>, kPhases> took{};
};

class Bank {
 public:
  static constexpr int kAccounts = 20;
  static constexpr int kBalance = 1000;

  Bank();
  ~Bank();
  Bank(const Bank&) = delete;
  Bank& operator=(const Bank&) = delete;

  [[nodiscard]] Ledger& ledger() const { return *ledger_; }
  /// The tables, in a database that has none.
  void found(Database& db) const;

  /// Marks what is under way, and how long it takes.
  void during(Phase phase, const std::function<void()>& action) const;
  /// All clients at once, each in a thread of its own, with `count` transfers each, and `beside`
  /// meanwhile; `pause`: of each client after each transfer.
  void work(Database& db, int count, const std::function<void()>& beside = {},
            std::chrono::milliseconds pause = {}) const;
  /// restore() with what the ledger must know of it; `then`: acknowledged when it was saved.
  void restore(Database& db, const Snapshot& snapshot, const std::array<int, kClients>& then) const;
  [[nodiscard]] std::array<int, kClients> acknowledged() const;

  /// Fails the test unless the database has what the ledger says, and is sound; the ledger then
  /// says what the database has.
  void check(Database& db) const;
  /// Fails the test unless the accounts of a copy, as of some moment, are right.
  static void check_copy(Database& copy);

 private:
  void transfer(Session& session, int client, std::minstd_rand& random) const;
  void check_counts(const std::array<int, kClients>& have) const;

  Ledger* ledger_ = nullptr;
};

}  // namespace snowglobe::testing
