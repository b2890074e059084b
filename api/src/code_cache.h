// api/src/code_cache.h - translated code of machines that have gone, for later ones that begin in
// the same state: what a process has translated once, its next database need not.
//
// It stays in memory: no host code is ever written to a file or read from one.
#pragma once

#include "api/src/ready_state.h"
#include "vm/cpu/translator/code_image.h"

#include <memory>
#include <string>

namespace snowglobe::detail {

/// Of one guest image and one of its states. Thread rule: any thread.
class CodeCache {
 public:
  /// Of a machine's beginning; with what is known of it, it takes three times as much.
  static constexpr std::size_t kMostCode = std::size_t{2} << 20;

  CodeCache(const std::string& image_id, StateKind kind);

  /// Null: nothing is known.
  [[nodiscard]] std::shared_ptr<const vm::CodeImage> load() const;
  /// Takes the place of what was there.
  void store(std::shared_ptr<const vm::CodeImage> code) const;

 private:
  std::string key_;
};

}  // namespace snowglobe::detail
