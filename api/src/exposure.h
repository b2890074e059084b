// api/src/exposure.h - what a database has exposed: the passwords that it gave out.
#pragma once

#include <snowglobe/expose.hpp>

#include <map>
#include <mutex>
#include <string>

namespace snowglobe::detail {

class DatabaseState;

/// Thread rule: any thread.
class Exposure {
 public:
  Endpoint open(DatabaseState& database, const ExposeOptions& options);
  /// After a restore: the roles have the passwords again that were given out for them.
  void put_back(DatabaseState& database);

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> passwords_;  // of each role that was exposed
};

}  // namespace snowglobe::detail
