// snowglobe/statements.hpp - the ways to run a statement, the same for Database, Session and
// Transaction.
//
//   db.execute("insert into t values ($1, $2)", 1, "Ada");             // rows touched
//   Result all = db.query("select * from t where id > $1", 0);
//   for (auto [id, name] : db.query<int, std::string>("select id, name from t")) ...
//   auto count = db.one<std::int64_t>("select count(*) from t");       // exactly one row
//   auto name = db.maybe<std::string>("select name from t where id = $1", 7);   // none or one row
//   // Many statements, without parameters:
//   db.script("create table a(...); create table b(...);");
//
// All of these throw SqlError, TimeoutError, ConnectionLost, GuestCrashed, and InvalidArgument
// before anything is sent (a NUL byte in a text parameter). In one<> and maybe<>, InvalidArgument
// also means a wrong count of rows.
#pragma once

#include <snowglobe/parameter.hpp>
#include <snowglobe/result.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace snowglobe {
inline namespace v1 {
namespace detail {

struct NoTypes {};

template <class... Ts>
constexpr bool kHasView = (std::is_same_v<Ts, std::string_view> || ...) ||
                          (std::is_same_v<Ts, std::optional<std::string_view>> || ...);

/// Derived has `Result run(std::string_view, std::span<const Parameter>)` and
/// `void run_script(std::string_view)`.
template <class Derived>
class Statements {
 public:
  /// Runs one statement. Returns the number of rows that it touched.
  template <class... Args>
  std::uint64_t execute(std::string_view sql, const Args&... args) {
    return call(sql, args...).affected();
  }

  /// Runs one statement. Returns its rows, untyped.
  template <class Untyped = NoTypes, class... Args>
  requires std::is_same_v<Untyped, NoTypes>
  [[nodiscard]] Result query(std::string_view sql, const Args&... args) {
    return call(sql, args...);
  }

  /// The same for parameters whose number is known at run time only.
  [[nodiscard]] Result query_with(std::string_view sql, std::span<const Parameter> parameters) {
    return static_cast<Derived*>(this)->run(sql, parameters);
  }

  /// Runs one statement. Returns its rows as tuples of T, Ts..., or as structs (aggregate.hpp).
  template <class T, class... Ts, class... Args>
  requires(!std::is_same_v<T, NoTypes>)
      [[nodiscard]] TypedRows<T, Ts...> query(std::string_view sql, const Args&... args) {
    return call(sql, args...).template rows<T, Ts...>();
  }

  /// The only row: a T (a value or a struct), or a std::tuple for several types.
  template <class T, class... Ts, class... Args>
  [[nodiscard]] RowOf<T, Ts...> one(std::string_view sql, const Args&... args) {
    static_assert(!kHasView<T, Ts...>, "the view would dangle: ask for std::string");
    const Result result = call(sql, args...);
    result.require_columns(kColumns<T, Ts...>);
    result.require_rows(1, 1);
    return result.typed<RowOf<T, Ts...>>(0);
  }

  /// The only row if there is one.
  template <class T, class... Ts, class... Args>
  [[nodiscard]] std::optional<RowOf<T, Ts...>> maybe(std::string_view sql, const Args&... args) {
    static_assert(!kHasView<T, Ts...>, "the view would dangle: ask for std::string");
    const Result result = call(sql, args...);
    result.require_columns(kColumns<T, Ts...>);
    result.require_rows(0, 1);
    if (result.empty()) return std::nullopt;
    return result.typed<RowOf<T, Ts...>>(0);
  }

  /// Runs many statements, separated by semicolons; without BEGIN in it, as one transaction.
  void script(std::string_view sql) { static_cast<Derived*>(this)->run_script(sql); }

 protected:
  Statements() = default;
  ~Statements() = default;
  Statements(const Statements&) = default;
  Statements& operator=(const Statements&) = default;

 private:
  template <class... Args>
  Result call(std::string_view sql, const Args&... args) {
    if constexpr (sizeof...(Args) == 0) {
      return static_cast<Derived*>(this)->run(sql, {});
    } else {
      const std::array<Parameter, sizeof...(Args)> parameters{Parameter(args)...};
      return static_cast<Derived*>(this)->run(sql, parameters);
    }
  }
};

}  // namespace detail
}  // namespace v1
}  // namespace snowglobe
