// cli/json.cc - JSON for programs.
#include "cli/json.h"

#include <iostream>

namespace snowglobe::cli {

void print_json(const Json& value) {
  std::cout << value.dump(2, ' ', false, Json::error_handler_t::replace) << std::endl;
}

std::string json_quoted(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace snowglobe::cli
