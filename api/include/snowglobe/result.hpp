// snowglobe/result.hpp - what a statement gave back: rows, or a count of rows.
//
//   auto result = db.query("select id, name from t");
//   for (snowglobe::Row row : result) use(row["id"].as<int>(), row["name"].as<std::string>());
//   for (auto [id, name] : db.query<int, std::string>("select id, name from t")) use(id, name);
//
// A Result owns its data, never changes, is cheap to copy, and outlives session and database. What
// is a view (std::string_view) lives as long as some copy of its Result does.
#pragma once

#include <snowglobe/aggregate.hpp>
#include <snowglobe/convert.hpp>
#include <snowglobe/export.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace snowglobe {
inline namespace v1 {

class Row;
template <class... Ts>
class TypedRows;
namespace detail {
class ResultData;
}

struct Column {
  std::string name;
  std::uint32_t type_oid = 0;   ///< in pg_type
  std::uint32_t table_oid = 0;  ///< in pg_class; 0 if the column is computed
};

class SNOWGLOBE_API Result {
 public:
  /// No rows, no columns.
  Result() noexcept;
  explicit Result(std::shared_ptr<const detail::ResultData> data) noexcept
      : data_(std::move(data)) {}

  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  /// Rows.
  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] std::span<const Column> columns() const noexcept;
  /// The position of a column. Throws InvalidArgument if no column has that name.
  [[nodiscard]] std::size_t column(std::string_view name) const;
  /// Rows that an INSERT, UPDATE, DELETE, MERGE, COPY, SELECT... touched.
  [[nodiscard]] std::uint64_t affected() const noexcept;
  /// The command tag, e.g. "INSERT 0 3".
  [[nodiscard]] std::string_view command() const noexcept;

  /// Requires row < size(), else InvalidArgument.
  [[nodiscard]] Row operator[](std::size_t row) const;
  /// One value as PostgreSQL's text; nothing for NULL. InvalidArgument when out of range.
  [[nodiscard]] std::optional<std::string_view> text(std::size_t row, std::size_t column) const;
  /// One value as a T. Throws ConversionError if it does not fit.
  template <class T>
  [[nodiscard]] T get(std::size_t row, std::size_t column) const {
    return detail::convert<T>(cell(row, column));
  }

  /// Rows as tuples, or as structs (aggregate.hpp). Throws InvalidArgument unless there are as many
  /// columns as types or members.
  template <class... Ts>
  [[nodiscard]] TypedRows<Ts...> rows() const {
    require_columns(detail::kColumns<Ts...>);
    return TypedRows<Ts...>(*this);
  }
  /// All rows: of one T for one column, of a std::tuple for several types, of a struct.
  template <class T, class... Ts>
  [[nodiscard]] std::vector<detail::RowOf<T, Ts...>> into() const {
    require_columns(detail::kColumns<T, Ts...>);
    std::vector<detail::RowOf<T, Ts...>> all;
    all.reserve(size());
    for (std::size_t row = 0; row < size(); ++row)
      all.push_back(typed<detail::RowOf<T, Ts...>>(row));
    return all;
  }

  class Iterator;
  [[nodiscard]] Iterator begin() const;
  [[nodiscard]] Iterator end() const;

  /// For the templates of this library: one row; columns have been counted.
  template <class RowType>
  [[nodiscard]] RowType typed(std::size_t row) const {
    return detail::make_row<RowType>([this, row](std::size_t column) { return cell(row, column); });
  }
  void require_columns(std::size_t count) const;
  /// Throws InvalidArgument unless there are `least` to `most` rows.
  void require_rows(std::size_t least, std::size_t most) const;

 private:
  [[nodiscard]] detail::Cell cell(std::size_t row, std::size_t column) const;

  std::shared_ptr<const detail::ResultData> data_;
};

/// One value of a Result; keeps it alive.
class Field {
 public:
  Field(Result result, std::size_t row, std::size_t column)
      : result_(std::move(result)), row_(row), column_(column) {}

  [[nodiscard]] bool is_null() const { return !text(); }
  [[nodiscard]] std::optional<std::string_view> text() const { return result_.text(row_, column_); }
  template <class T>
  [[nodiscard]] T as() const {
    return result_.get<T>(row_, column_);
  }

 private:
  Result result_;
  std::size_t row_, column_;
};

/// One row of a Result; keeps it alive.
class Row {
 public:
  Row(Result result, std::size_t row) : result_(std::move(result)), row_(row) {}

  [[nodiscard]] std::size_t size() const noexcept { return result_.columns().size(); }
  [[nodiscard]] Field operator[](std::size_t column) const { return {result_, row_, column}; }
  [[nodiscard]] Field operator[](std::string_view column) const {
    return {result_, row_, result_.column(column)};
  }
  /// A tuple, or a struct.
  template <class... Ts>
  [[nodiscard]] detail::TupleOf<Ts...> as() const {
    result_.require_columns(detail::kColumns<Ts...>);
    return result_.typed<detail::TupleOf<Ts...>>(row_);
  }

 private:
  Result result_;
  std::size_t row_;
};

class Result::Iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = Row;
  using difference_type = std::ptrdiff_t;
  using pointer = void;
  using reference = Row;

  Iterator() = default;
  Iterator(Result result, std::size_t row) : result_(std::move(result)), row_(row) {}
  Row operator*() const { return {result_, row_}; }
  Iterator& operator++() {
    ++row_;
    return *this;
  }
  Iterator operator++(int) {
    Iterator before = *this;
    ++row_;
    return before;
  }
  bool operator==(const Iterator& other) const { return row_ == other.row_; }

 private:
  Result result_;
  std::size_t row_ = 0;
};

inline Result::Iterator Result::begin() const {
  return {*this, 0};
}
inline Result::Iterator Result::end() const {
  return {*this, size()};
}

/// The rows of a Result as tuples or structs, for structured bindings.
template <class... Ts>
class TypedRows {
 public:
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = detail::TupleOf<Ts...>;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = value_type;

    Iterator() = default;
    Iterator(const Result* result, std::size_t row) : result_(result), row_(row) {}
    value_type operator*() const { return result_->typed<value_type>(row_); }
    Iterator& operator++() {
      ++row_;
      return *this;
    }
    Iterator operator++(int) {
      Iterator before = *this;
      ++row_;
      return before;
    }
    bool operator==(const Iterator& other) const { return row_ == other.row_; }

   private:
    const Result* result_ = nullptr;  // the TypedRows outlives its iterators, as a container does
    std::size_t row_ = 0;
  };

  explicit TypedRows(Result result) : result_(std::move(result)) {}
  [[nodiscard]] Iterator begin() const { return {&result_, 0}; }
  [[nodiscard]] Iterator end() const { return {&result_, result_.size()}; }
  [[nodiscard]] std::size_t size() const noexcept { return result_.size(); }
  [[nodiscard]] bool empty() const noexcept { return result_.empty(); }
  [[nodiscard]] const Result& result() const noexcept { return result_; }

 private:
  Result result_;
};

}  // namespace v1
}  // namespace snowglobe
