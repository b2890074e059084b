// api/src/code_cache.cc - the process' table of translated code.
#include "api/src/code_cache.h"

#include <map>
#include <mutex>
#include <utility>

namespace snowglobe::detail {
namespace {

struct Table {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<const vm::CodeImage>> codes;
};

/// Databases may be closed behind static destructors.
Table& table() {
  static Table& known = *new Table;
  return known;
}

}  // namespace

CodeCache::CodeCache(const std::string& image_id, StateKind kind)
    : key_(image_id + (kind == StateKind::bare ? " bare" : " ready")) {}

std::shared_ptr<const vm::CodeImage> CodeCache::load() const {
  const std::lock_guard lock(table().mutex);
  const auto found = table().codes.find(key_);
  return found != table().codes.end() ? found->second : nullptr;
}

void CodeCache::store(std::shared_ptr<const vm::CodeImage> code) const {
  const std::lock_guard lock(table().mutex);
  table().codes[key_] = std::move(code);
}

}  // namespace snowglobe::detail
