// snowglobe/session.hpp - a connection of one's own: transactions, prepared statements, COPY,
// LISTEN/NOTIFY.
//
// Thread rule: a Session and all that it made belong to one thread at a time; cancel() may be
// called from any thread. Destructors never throw. In a child after fork() they do nothing, and
// calls throw ConnectionLost.
#pragma once

#include <snowglobe/error.hpp>
#include <snowglobe/export.hpp>
#include <snowglobe/options.hpp>
#include <snowglobe/pipeline.hpp>
#include <snowglobe/sql_errors.hpp>
#include <snowglobe/statements.hpp>
#include <snowglobe/subscription.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

struct pg_conn;  // libpq's PGconn

namespace snowglobe {
inline namespace v1 {
namespace detail {
class Connection;
/// Sleeps a little and returns if running again may help; throws the current exception if not.
SNOWGLOBE_API void before_retry(const SqlError& error, int attempt, int retries);
}  // namespace detail

/// A part of a transaction that can be taken back alone. Rolls back unless released.
class SNOWGLOBE_API Savepoint {
 public:
  Savepoint(std::shared_ptr<detail::Connection> connection, std::string name);
  Savepoint(Savepoint&& other) noexcept = default;
  Savepoint& operator=(Savepoint&&) = delete;
  ~Savepoint();

  /// Keeps what was done since, as part of the transaction.
  void release();
  /// Takes back what was done since; also clears an error. The savepoint is used up.
  void rollback();

 private:
  std::shared_ptr<detail::Connection> connection_;  // null once used up
  std::string name_;
};

/// BEGIN to COMMIT. Rolls back unless committed.
class SNOWGLOBE_API Transaction : public detail::Statements<Transaction> {
 public:
  Transaction(std::shared_ptr<detail::Connection> connection, const TransactionOptions& options);
  Transaction(Transaction&& other) noexcept = default;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  /// Throws InFailedTransaction if an error was swallowed on the way: the server rolled back.
  void commit();
  void rollback();
  /// Neither committed nor rolled back yet.
  [[nodiscard]] bool active() const noexcept { return connection_ != nullptr; }
  [[nodiscard]] Savepoint savepoint();

 private:
  friend class detail::Statements<Transaction>;
  Result run(std::string_view sql, std::span<const Parameter> parameters);
  void run_script(std::string_view sql);
  detail::Connection& connection() const;

  std::shared_ptr<detail::Connection> connection_;  // null once finished
};

/// A prepared statement. The server decides all parameter types.
class SNOWGLOBE_API Statement {
 public:
  Statement(std::shared_ptr<detail::Connection> connection, std::string_view sql);
  Statement(Statement&& other) noexcept = default;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  template <class... Args>
  std::uint64_t execute(const Args&... args) {
    return call(args...).affected();
  }
  template <class Untyped = detail::NoTypes, class... Args>
  requires std::is_same_v<Untyped, detail::NoTypes>
  [[nodiscard]] Result query(const Args&... args) { return call(args...); }
  template <class T, class... Ts, class... Args>
  requires(!std::is_same_v<T, detail::NoTypes>)
      [[nodiscard]] TypedRows<T, Ts...> query(const Args&... args) {
    return call(args...).template rows<T, Ts...>();
  }
  template <class T, class... Ts, class... Args>
  [[nodiscard]] detail::RowOf<T, Ts...> one(const Args&... args) {
    static_assert(!detail::kHasView<T, Ts...>, "the view would dangle: ask for std::string");
    const Result result = call(args...);
    result.require_columns(detail::kColumns<T, Ts...>);
    result.require_rows(1, 1);
    return result.typed<detail::RowOf<T, Ts...>>(0);
  }

 private:
  template <class... Args>
  Result call(const Args&... args) {
    const std::array<Parameter, sizeof...(Args)> parameters{Parameter(args)...};
    return run(parameters);
  }
  friend class Pipeline;
  Result run(std::span<const Parameter> parameters);

  std::shared_ptr<detail::Connection> connection_;
  std::string name_;
};

/// COPY ... FROM STDIN. Without finish() nothing is copied.
class SNOWGLOBE_API CopyWriter {
 public:
  CopyWriter(std::shared_ptr<detail::Connection> connection, std::string_view sql);
  CopyWriter(CopyWriter&& other) noexcept = default;
  CopyWriter& operator=(CopyWriter&&) = delete;
  ~CopyWriter();

  /// One row of values, or of one struct's members (aggregate.hpp), for the text format (COPY's
  /// default).
  template <detail::RowStruct T>
  void row(const T& values) {
    std::apply([this](const auto&... members) { this->row(members...); }, detail::members(values));
  }
  template <class... Args>
  void row(const Args&... args) {
    const std::array<Parameter, sizeof...(Args)> values{Parameter(args)...};
    add_row(values);
  }
  /// Bytes as they are, in whatever format the statement names; need not end at a row's end.
  void raw(std::string_view data);
  /// Ends the copy. Returns the number of rows that it made. Errors in the rows show here at the
  /// latest.
  std::uint64_t finish();

 private:
  void add_row(std::span<const Parameter> values);
  void send();

  std::shared_ptr<detail::Connection> connection_;  // null once finished
  std::string buffer_;
};

/// COPY ... TO STDOUT. Dropped before its end, it cancels the copy.
class SNOWGLOBE_API CopyReader {
 public:
  CopyReader(std::shared_ptr<detail::Connection> connection, std::string_view sql);
  CopyReader(CopyReader&& other) noexcept = default;
  CopyReader& operator=(CopyReader&&) = delete;
  ~CopyReader();

  /// The next piece as the server sent it (in text and CSV format a line with its newline); nothing
  /// at the end. Valid until the next call.
  std::optional<std::string_view> raw();
  /// The next row of the text format (COPY's default) as a tuple or a struct; nothing at the end.
  template <class... Ts>
  std::optional<detail::TupleOf<Ts...>> next() {
    static_assert(!detail::kHasView<Ts...>, "the view would dangle: ask for std::string");
    if (!read_row(detail::kColumns<Ts...>)) return std::nullopt;
    return detail::make_row<detail::TupleOf<Ts...>>(
        [this](std::size_t column) -> const detail::Cell& { return cells_[column]; });
  }

  template <class... Ts>
  class Rows;
  /// What is left, for a range-based for. Requires that the reader outlives the loop.
  template <class... Ts>
  [[nodiscard]] Rows<Ts...> rows() {
    return Rows<Ts...>(*this);
  }

 private:
  /// Takes the next row apart into cells_. False at the end.
  bool read_row(std::size_t columns);

  std::shared_ptr<detail::Connection> connection_;  // null at the end
  std::vector<char> piece_;
  std::string unescaped_;
  std::vector<detail::Cell> cells_;
};

template <class... Ts>
class CopyReader::Rows {
 public:
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = detail::TupleOf<Ts...>;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = const value_type&;

    explicit Iterator(CopyReader* reader) : reader_(reader) { ++*this; }
    const value_type& operator*() const { return *row_; }
    Iterator& operator++() {
      row_ = reader_->next<Ts...>();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !row_; }

   private:
    CopyReader* reader_;
    std::optional<value_type> row_;
  };

  explicit Rows(CopyReader& reader) : reader_(&reader) {}
  [[nodiscard]] Iterator begin() const { return Iterator(reader_); }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

 private:
  CopyReader* reader_;
};

/// What a session is in the middle of.
enum class SessionState : std::uint8_t {
  idle,            ///< nothing
  in_transaction,  ///< a transaction, between two statements
  failed,          ///< a transaction in which a statement failed: only a rollback is of use
  busy,            ///< a COPY
  closed,          ///< or lost
};

/// A backend of its own. Move-only; keeps the machine alive.
class SNOWGLOBE_API Session : public detail::Statements<Session> {
 public:
  explicit Session(std::shared_ptr<detail::Connection> connection) noexcept;
  Session(Session&& other) noexcept = default;
  Session& operator=(Session&& other) noexcept = default;
  ~Session();

  [[nodiscard]] Transaction begin(const TransactionOptions& options = {}) {
    return {connection_, options};
  }
  /// Runs fn(Transaction&) and commits; rolls back if it throws; runs it again after a
  /// serialization failure or a deadlock. Returns what fn returns.
  template <class Fn>
  auto transact(Fn&& fn, const TransactionOptions& options = {}) {
    for (int attempt = 0;; ++attempt) {
      try {
        return transact_once(fn, options);
      } catch (const TransactionRollback& error) {
        detail::before_retry(error, attempt, options.retries);
      }
    }
  }

  [[nodiscard]] Statement prepare(std::string_view sql) { return {connection_, sql}; }
  [[nodiscard]] Pipeline pipeline() { return Pipeline(connection_); }
  [[nodiscard]] CopyWriter copy_in(std::string_view copy_statement) {
    return {connection_, copy_statement};
  }
  [[nodiscard]] CopyReader copy_out(std::string_view copy_statement) {
    return {connection_, copy_statement};
  }

  void listen(std::string_view channel);
  void unlisten(std::string_view channel);
  void notify(std::string_view channel, std::string_view payload = {});
  /// The next notification, waiting at most `limit` for it; nothing if none came.
  [[nodiscard]] std::optional<Notification> wait_notification(std::chrono::milliseconds limit);

  /// Cancels the statement that is running, if one is: it throws QueryCanceled. Any thread.
  void cancel() noexcept;
  /// For statements from now on; 0: no limit.
  void set_statement_limit(std::chrono::milliseconds limit);
  [[nodiscard]] int backend_pid() const;
  [[nodiscard]] SessionState state() const noexcept;
  /// What is not wrapped: calls fn(PGconn*) with libpq's object, and returns what it returns.
  /// Inside of it the session counts as busy (a restore ends it), and no time limit of ours holds.
  /// The object is non-blocking, to be left idle or in a transaction, and not to be kept or closed.
  template <class Fn>
  auto native(Fn&& fn) {
    if constexpr (std::is_void_v<std::invoke_result_t<Fn&, pg_conn*>>) {
      use_native([&fn](pg_conn* connection) { fn(connection); });
    } else {
      std::optional<std::invoke_result_t<Fn&, pg_conn*>> value;
      use_native([&](pg_conn* connection) { value.emplace(fn(connection)); });
      return std::move(*value);
    }
  }
  /// False after ConnectionLost, GuestCrashed or close().
  [[nodiscard]] bool usable() const noexcept;
  void close() noexcept;

 private:
  friend class detail::Statements<Session>;
  Result run(std::string_view sql, std::span<const Parameter> parameters);
  void run_script(std::string_view sql);
  void use_native(const std::function<void(pg_conn*)>& use);
  detail::Connection& connection() const;

  template <class Fn>
  auto transact_once(Fn& fn, const TransactionOptions& options) {
    Transaction transaction = begin(options);
    if constexpr (std::is_void_v<std::invoke_result_t<Fn&, Transaction&>>) {
      fn(transaction);
      if (transaction.active()) transaction.commit();
    } else {
      auto value = fn(transaction);
      if (transaction.active()) transaction.commit();
      return value;
    }
  }

  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace v1
}  // namespace snowglobe
