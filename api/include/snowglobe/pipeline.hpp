// snowglobe/pipeline.hpp - many statements for the price of one wait.
//
//   Pipeline pipeline = session.pipeline();
//   Pending id = pipeline.push("insert into t(name) values ($1) returning id", "Ada");
//   for (int i = 0; i < 1000; ++i) pipeline.push("insert into log values ($1)", i);
//   pipeline.sync();                       // now they are sent, and all answers are there
//   int number = id.one<int>();
//
// What is between two sync()s is one transaction, unless the session is inside of a transaction
// already, or a statement says otherwise: after the first error the rest is not run, and all of it
// is taken back. Thread rule: as the Session that it comes from.
#pragma once

#include <snowglobe/export.hpp>
#include <snowglobe/parameter.hpp>
#include <snowglobe/result.hpp>
#include <snowglobe/statements.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace snowglobe {
inline namespace v1 {

class Statement;
namespace detail {
class Connection;
struct PipelineStep;
struct PipelineOutcome;
}  // namespace detail

/// What a statement of a Pipeline gives once sync() was called. Copies share it; they outlive
/// pipeline and session.
class SNOWGLOBE_API Pending {
 public:
  explicit Pending(std::shared_ptr<const detail::PipelineOutcome> outcome) noexcept;

  /// The statement's result. Throws the error that the statement met, PipelineAborted if it was not
  /// run, InvalidArgument before sync().
  [[nodiscard]] Result get() const;
  /// Rows touched.
  [[nodiscard]] std::uint64_t affected() const { return get().affected(); }
  /// The only row, as Session::one().
  template <class T, class... Ts>
  [[nodiscard]] detail::RowOf<T, Ts...> one() const {
    static_assert(!detail::kHasView<T, Ts...>, "the view would dangle: ask for std::string");
    const Result result = get();
    result.require_columns(detail::kColumns<T, Ts...>);
    result.require_rows(1, 1);
    return result.typed<detail::RowOf<T, Ts...>>(0);
  }

 private:
  std::shared_ptr<const detail::PipelineOutcome> outcome_;
};

/// Collects statements and runs them in one go; dropped before sync() it runs none.
class SNOWGLOBE_API Pipeline {
 public:
  explicit Pipeline(std::shared_ptr<detail::Connection> connection);
  Pipeline(Pipeline&& other) noexcept;
  Pipeline& operator=(Pipeline&&) = delete;
  ~Pipeline();

  /// Parameters are copied. Throws InvalidArgument (a NUL byte in text).
  template <class... Args>
  Pending push(std::string_view sql, const Args&... args) {
    const std::array<Parameter, sizeof...(Args)> parameters{Parameter(args)...};
    return add(sql, parameters);
  }
  /// A prepared statement of the same session.
  template <class... Args>
  Pending push(const Statement& statement, const Args&... args) {
    const std::array<Parameter, sizeof...(Args)> parameters{Parameter(args)...};
    return add(statement, parameters);
  }
  /// Statements that wait for sync().
  [[nodiscard]] std::size_t size() const noexcept;

  /// Runs them, and throws the first error that one of them met, ConnectionLost, TimeoutError (the
  /// session's limit holds for all of them together: the server answers at the end) or
  /// GuestCrashed. The pipeline is empty then, and can be filled again.
  void sync();

 private:
  Pending add(std::string_view sql, std::span<const Parameter> parameters);
  Pending add(const Statement& statement, std::span<const Parameter> parameters);

  std::shared_ptr<detail::Connection> connection_;
  std::vector<detail::PipelineStep> steps_;
};

}  // namespace v1
}  // namespace snowglobe
