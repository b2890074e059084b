// api/src/statement_parts.cc - statements and parameters in the form in which libpq takes them.
#include "api/src/statement_parts.h"

#include <limits>

namespace snowglobe::detail {
namespace {

/// Whether "$number" stands anywhere in the statement.
bool mentions(std::string_view sql, std::size_t number) {
  std::string name = "$";
  name += std::to_string(number);
  for (std::size_t at = sql.find(name); at != sql.npos; at = sql.find(name, at + 1)) {
    const std::size_t behind = at + name.size();
    if (behind == sql.size() || sql[behind] < '0' || sql[behind] > '9') return true;
  }
  return false;
}

}  // namespace

ParameterArrays::ParameterArrays(std::span<const Parameter> parameters) {
  // The protocol counts them in 16 bits.
  if (parameters.size() > std::numeric_limits<std::uint16_t>::max()) {
    throw InvalidArgument("a statement takes at most 65535 parameters");
  }
  terminated.reserve(parameters.size());
  std::size_t number = 0;
  for (const Parameter& parameter : parameters)
    add(parameter, ++number);
}

void ParameterArrays::add(const Parameter& parameter, std::size_t number) {
  const std::string_view data = parameter.data();
  if (data.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw InvalidArgument("parameter $" + std::to_string(number) + " is larger than 2 GiB");
  }
  types.push_back(parameter.type_oid());
  formats.push_back(parameter.is_binary() ? 1 : 0);
  lengths.push_back(static_cast<int>(data.size()));
  if (parameter.is_null()) {
    values.push_back(nullptr);
  } else if (parameter.is_binary()) {
    values.push_back(data.data());
  } else if (data.find('\0') != std::string_view::npos) {
    throw InvalidArgument("parameter $" + std::to_string(number) +
                          " is text with a NUL byte at offset " + std::to_string(data.find('\0')) +
                          ", which PostgreSQL's text cannot hold; send it as Bytes");
  } else {
    values.push_back(terminated.emplace_back(data).c_str());
  }
}

const Oid* ParameterArrays::types_for(std::string_view sql) const {
  return types.empty() || mentions(sql, types.size()) ? types.data() : nullptr;
}

std::string statement_text(std::string_view sql) {
  if (sql.find('\0') != std::string_view::npos) {
    throw InvalidArgument("the statement contains a NUL byte at offset " +
                          std::to_string(sql.find('\0')));
  }
  return std::string(sql);
}

}  // namespace snowglobe::detail
