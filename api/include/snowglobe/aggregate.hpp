// snowglobe/aggregate.hpp - rows as plain structs: the n-th column is the n-th member.
//
//   struct Person { int id; std::string name; std::optional<std::chrono::year_month_day> born; };
//   for (const Person& person : db.query<Person>("select id, name, born from people")) ...
//   std::vector<Person> all = db.query("select * from people").into<Person>();
//
// Up to 16 members, each of a type that a value can be read as and that has a default.
#pragma once

#include <snowglobe/convert.hpp>

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

namespace snowglobe {
inline namespace v1 {
namespace detail {

/// A struct that stands for a whole row.
template <class T>
concept RowStruct = std::is_class_v<T> && std::is_aggregate_v<T> && !kReadable<T>;

inline constexpr std::size_t kMostMembers = 16;

/// Stands for a value of any type that can be read; never made.
struct AnyValue {
  template <class T>
  requires kReadable<T>
  operator T() const;  // NOLINT: implicit, to initialise members
};

template <class T, std::size_t... kIndex>
constexpr bool takes_values(std::index_sequence<kIndex...>) {
  return requires {
    T{(static_cast<void>(kIndex), AnyValue())...};
  };
}

/// How many members an aggregate has: as many values as its braces take.
template <class T, std::size_t kCount = kMostMembers + 1>
constexpr std::size_t member_count() {
  if constexpr (kCount == 0 || takes_values<T>(std::make_index_sequence<kCount>{})) {
    return kCount;
  } else {
    return member_count<T, kCount - 1>();
  }
}

/// References to all members.
template <class T>
constexpr auto members(T& row) {
  constexpr std::size_t kCount = member_count<T>();
  static_assert(kCount > 0 && kCount <= kMostMembers,
                "a row's struct needs 1 to 16 members that a value can be read as");
  if constexpr (kCount == 1) {
    auto& [a] = row;
    return std::tie(a);
  } else if constexpr (kCount == 2) {
    auto& [a, b] = row;
    return std::tie(a, b);
  } else if constexpr (kCount == 3) {
    auto& [a, b, c] = row;
    return std::tie(a, b, c);
  } else if constexpr (kCount == 4) {
    auto& [a, b, c, d] = row;
    return std::tie(a, b, c, d);
  } else if constexpr (kCount == 5) {
    auto& [a, b, c, d, e] = row;
    return std::tie(a, b, c, d, e);
  } else if constexpr (kCount == 6) {
    auto& [a, b, c, d, e, f] = row;
    return std::tie(a, b, c, d, e, f);
  } else if constexpr (kCount == 7) {
    auto& [a, b, c, d, e, f, g] = row;
    return std::tie(a, b, c, d, e, f, g);
  } else if constexpr (kCount == 8) {
    auto& [a, b, c, d, e, f, g, h] = row;
    return std::tie(a, b, c, d, e, f, g, h);
  } else if constexpr (kCount == 9) {
    auto& [a, b, c, d, e, f, g, h, i] = row;
    return std::tie(a, b, c, d, e, f, g, h, i);
  } else if constexpr (kCount == 10) {
    auto& [a, b, c, d, e, f, g, h, i, j] = row;
    return std::tie(a, b, c, d, e, f, g, h, i, j);
  } else if constexpr (kCount == 11) {
    auto& [a, b, c, d, e, f, g, h, i, j, k] = row;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k);
  } else if constexpr (kCount == 12) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l] = row;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l);
  } else if constexpr (kCount == 13) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m] = row;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m);
  } else if constexpr (kCount == 14) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = row;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n);
  } else if constexpr (kCount == 15) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = row;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o);
  } else if constexpr (kCount == 16) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = row;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
  }
}

/// How many columns a row of Ts has.
template <class... Ts>
inline constexpr std::size_t kColumns = sizeof...(Ts);
template <RowStruct T>
inline constexpr std::size_t kColumns<T> = member_count<T>();

template <class... Ts>
struct RowTypes {
  using Tuple = std::tuple<Ts...>;  // what a range of rows yields
  using Value = Tuple;              // what one row is for its own
};
template <class T>
struct RowTypes<T> {
  using Tuple = std::conditional_t<RowStruct<T>, T, std::tuple<T>>;
  using Value = T;
};

/// What a row of Ts is: the value itself for one, a tuple for several.
template <class... Ts>
using RowOf = typename RowTypes<Ts...>::Value;
/// The same for ranges: a tuple also for one, so that `for (auto [n] : ...)` works.
template <class... Ts>
using TupleOf = typename RowTypes<Ts...>::Tuple;

/// Makes a Row (RowOf or TupleOf some types) from the cells that `cell(index)` gives.
template <class Row, class CellAt>
Row make_row(const CellAt& cell) {
  if constexpr (RowStruct<Row>) {
    Row row{};
    std::apply(
        [&cell](auto&... member) {
          std::size_t index = 0;
          ((member = convert<std::remove_cvref_t<decltype(member)>>(cell(index++))), ...);
        },
        members(row));
    return row;
  } else if constexpr (kReadable<Row>) {
    return convert<Row>(cell(0));
  } else {
    return [&cell]<class... Ts, std::size_t... kIndex>(std::type_identity<std::tuple<Ts...>>,
                                                       std::index_sequence<kIndex...>) {
      return std::tuple<Ts...>{convert<Ts>(cell(kIndex))...};
    }(std::type_identity<Row>{}, std::make_index_sequence<std::tuple_size_v<Row>>{});
  }
}

}  // namespace detail
}  // namespace v1
}  // namespace snowglobe
