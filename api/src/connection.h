// api/src/connection.h - one libpq connection, never blocking beyond its time limit.
#pragma once

#include "api/src/deadline.h"
#include "api/src/result_data.h"
#include "api/src/server.h"
#include "api/src/session_picture.h"
#include "base/adaptive_spin.h"
#include <snowglobe/session.hpp>

#include <atomic>
#include <deque>
#include <functional>
#include <libpq-fe.h>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace snowglobe::detail {

struct PipelineStep;

/// Thread rule: one thread at a time; cancel() from any. What saves and restores
/// (connection_picture.cc) works on any thread while somebody holds the sessions
/// (SessionRegistry::Hold). Invariants: 1. Between two calls nothing is under way, but for a COPY
/// that was begun. 2. After a ConnectionLost, GuestCrashed or an unanswered cancel it is closed,
/// and stays so. 3. In a process other than the one that opened it, it does nothing, and its
/// destructor leaks what the parent still uses. 4. libpq's object is used inside of a call, or with
/// the gate closed.
class Connection {
 public:
  /// Throws SqlError (no such database), ConnectionLost, TimeoutError, GuestCrashed. `pooled`: of
  /// the database's own pool.
  static std::shared_ptr<Connection> open(std::shared_ptr<Server> server,
                                          const SessionOptions& options, Deadline deadline,
                                          bool pooled = false);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Result run(std::string_view sql, std::span<const Parameter> parameters);
  /// Any number of statements, no parameters. Returns the last result.
  Result run_simple(std::string_view sql);
  /// Like run_simple with a limit of its own, and no exception: false if it failed, which closes
  /// the connection.
  bool run_quietly(std::string_view sql, std::chrono::milliseconds limit) noexcept;

  /// Returns the statement's name. Where a restore takes its backend back to before this, the
  /// statement is prepared again at its next use.
  std::string prepare(std::string_view sql);
  Result run_prepared(const std::string& name, std::span<const Parameter> parameters);
  /// The name is given back to the server with one of the next statements.
  void forget(std::string name) noexcept;

  void copy_in_begin(std::string_view sql);
  void copy_in_data(std::string_view data);
  std::uint64_t copy_in_end();
  void copy_in_abort() noexcept;

  void copy_out_begin(std::string_view sql);
  /// The next piece into `piece`; false at the end.
  bool copy_out_next(std::vector<char>& piece);
  void copy_out_abort() noexcept;

  /// Runs all steps in libpq's pipeline mode and fills their outcomes in. Throws the first error.
  void run_pipeline(std::span<const PipelineStep> steps);
  /// The text that a prepared statement's name stands for.
  [[nodiscard]] bool has_prepared(const std::string& name) const {
    return statements_.contains(name);
  }

  std::optional<Notification> wait_notification(std::chrono::milliseconds limit);
  /// Throws InvalidArgument, and closes the session, if libpq's object is left busy.
  void use_native(const std::function<void(PGconn*)>& use);
  [[nodiscard]] SessionState state() const noexcept;

  /// Sends a cancel request and waits a little for it to be taken.
  void cancel() noexcept;
  void close() noexcept;
  [[nodiscard]] bool usable() const noexcept;
  [[nodiscard]] bool idle_outside_transaction() const noexcept;
  [[nodiscard]] int backend_pid() const;
  [[nodiscard]] std::string quoted_identifier(std::string_view name) const;
  [[nodiscard]] std::string quoted_literal(std::string_view text) const;
  void set_statement_limit(std::chrono::milliseconds limit) noexcept { limit_ = limit; }
  [[nodiscard]] std::string next_name();
  /// What ALTER ROLE ... PASSWORD takes instead of the password itself. Throws Error.
  [[nodiscard]] std::string scram_verifier(const std::string& user,
                                           const std::string& password) const;

  // --- for saves and restores, with the gate closed: see connection_picture.cc
  [[nodiscard]] std::mutex& gate() { return gate_; }
  /// A thread is inside of a statement, or of the opening.
  [[nodiscard]] bool in_call() const { return calls_ > 0; }
  [[nodiscard]] SessionToken token() const { return token_; }
  /// Reads what has come. False if this is not an idle session outside of a transaction.
  bool settle();
  /// Of a settled session. Stream and startup are not known here.
  [[nodiscard]] SessionPicture picture() const;
  /// True if libpq stands between two messages with nothing left to read: `mark`, a new word, has
  /// just been sent to it by parameter_status(kMark, mark).
  bool reads_mark(std::string_view mark);
  static constexpr std::string_view kMark = "snowglobe_mark";
  /// The messages that tell libpq what the server's parameters were.
  std::string parameter_messages(const SessionPicture& back) const;
  /// After these, and after the backend has gone back: the rest of what this end knows.
  void put_back(const SessionPicture& back);
  /// This session is over: calls throw StaleSession, those under way as soon as they see the end of
  /// the stream.
  void make_stale() noexcept { stale_.store(true); }

 private:
  /// One call of the connection's user, from its first look at libpq's object to its last. A
  /// restore that meets it ends the session; a call that meets a restore waits for it.
  class CallScope {
   public:
    explicit CallScope(Connection& connection);
    ~CallScope();
    CallScope(const CallScope&) = delete;
    CallScope& operator=(const CallScope&) = delete;

   private:
    Connection& connection_;
    bool counted_ = false;
  };

  /// One statement from its sending to its last result.
  struct Call {
    explicit Call(std::chrono::milliseconds time_limit) : limit(time_limit), deadline(time_limit) {}

    std::chrono::milliseconds limit;
    Deadline deadline;
    bool timed_out = false;
  };

  Connection(std::shared_ptr<Server> server, const SessionOptions& options, bool pooled);
  void connect(const SessionOptions& options, Deadline deadline);
  [[noreturn]] void refuse_connect();

  void require_idle() const;
  [[noreturn]] static void throw_stale();
  /// As close(), with the gate closed or inside of a call.
  void close_now() noexcept;
  void prepare_as(const std::string& name, const std::string& text, Call& call);
  /// From libpq's queue to ours.
  void take_notifications();
  void drop_forgotten();
  [[noreturn]] void send_failed();
  [[noreturn]] void lost(const SqlDiagnostics& diagnostics);
  /// Waits for the socket; false when the deadline has passed.
  bool wait_socket(bool for_write, const Deadline& deadline);
  void consume_input();
  void flush(Call& call);
  /// Handles a deadline that has passed: cancels once, then gives the connection up.
  void out_of_time(Call& call);
  PqResult next_result(Call& call);
  /// All results of what was sent: the last good one, or the error thrown.
  PqResult collect(Call& call);
  void expect_copy(std::string_view sql, ExecStatusType wanted, const char* what);
  /// The error of a failed result, thrown; a session that is over with it is closed.
  [[noreturn]] void throw_result_error(const PGresult* error, const Call& call);

  // pipeline.cc
  void send_steps(std::span<const PipelineStep> steps, Call& call);
  void read_outcome(const PipelineStep& step, Call& call);
  void end_pipeline(Call& call);

  static void on_notice(void* connection, const PGresult* notice);

  std::shared_ptr<Server> server_;
  std::chrono::milliseconds limit_;
  const bool pooled_;
  const SessionToken token_;
  pid_t owner_;
  mutable std::mutex gate_;          // of calls_, and of libpq's object between two calls
  int calls_ = 0;                    // nested calls under way, by the one thread that may
  std::atomic<bool> stale_ = false;  // by a restore
  PGconn* connection_ = nullptr;     // null once closed
  int socket_ = -1;                  // libpq's, once it is connected; the user's thread
  std::function<void(const Notice&)> notice_;
  base::AdaptiveSpin spin_;  // before sleeping for an answer
  std::mutex cancel_mutex_;  // of cancel_
  std::shared_ptr<PGcancel> cancel_;
  std::atomic<int> backend_pid_ = 0;
  std::map<std::string, std::string> statements_;  // name and text of each Statement that is there
  std::set<std::string> prepared_;                 // names that the backend knows
  std::vector<std::string> forgotten_;             // of these, those that nobody needs any more
  std::deque<Notification> notifications_;         // that came and wait to be read
  unsigned long names_ = 0;                        // never goes back
};

/// Sends a cancel request on a thread of its own, since libpq waits for the answer without a limit;
/// returns when it was answered or after `limit`.
void send_cancel(std::shared_ptr<PGcancel> cancel, std::chrono::milliseconds limit) noexcept;

/// The diagnostics of a failed result.
SqlDiagnostics diagnostics_of(const PGresult* result);

}  // namespace snowglobe::detail
