// api/src/statement_parts.h - statements and parameters in the form in which libpq takes them.
#pragma once

#include <snowglobe/error.hpp>
#include <snowglobe/parameter.hpp>
#include <snowglobe/result.hpp>

#include <exception>
#include <libpq-fe.h>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::detail {

/// What PQsendQueryParams wants, from Parameters, whose bytes must live as long.
struct ParameterArrays {
  std::vector<Oid> types;
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
  std::vector<std::string> terminated;  // libpq wants a NUL behind text

  /// Throws InvalidArgument.
  explicit ParameterArrays(std::span<const Parameter> parameters);
  [[nodiscard]] int count() const { return static_cast<int>(values.size()); }
  /// The types to send with a statement. A parameter too many is silently taken by the server if it
  /// comes with a type: none then.
  [[nodiscard]] const Oid* types_for(std::string_view sql) const;

 private:
  void add(const Parameter& parameter, std::size_t number);
};

/// The statement with a NUL behind it. Throws InvalidArgument if one is inside.
std::string statement_text(std::string_view sql);

/// A statement of a pipeline, with parameters of its own, and where its outcome goes.
struct PipelineOutcome {
  bool done = false;
  Result result;
  std::exception_ptr error;
};
struct PipelineStep {
  std::string text;                   // of the statement, or empty
  std::string name;                   // of a prepared one
  std::vector<Parameter> parameters;  // that borrow nothing
  std::shared_ptr<PipelineOutcome> outcome;
};

}  // namespace snowglobe::detail
