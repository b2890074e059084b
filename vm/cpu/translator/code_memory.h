// vm/cpu/translator/code_memory.h - memory for translated code: one memory file mapped twice, once
// writable and once executable, so that no address is ever both.
#pragma once

#include "base/error.h"
#include "vm/types.h"

#include <memory>

namespace snowglobe::vm {

/// Thread rule: confined to the machine's thread.
class CodeMemory {
 public:
  /// `size` in bytes, a multiple of the page size. Errors: kResourceExhausted, kUnavailable (the
  /// host does not let us have executable memory).
  static base::Result<std::unique_ptr<CodeMemory>> create(std::size_t size);
  ~CodeMemory();
  CodeMemory(const CodeMemory&) = delete;
  CodeMemory& operator=(const CodeMemory&) = delete;

  [[nodiscard]] u8* writable() const { return writable_; }
  [[nodiscard]] const u8* executable() const { return executable_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  CodeMemory(u8* writable, const u8* executable, std::size_t size);

  u8* writable_;
  const u8* executable_;
  std::size_t size_;
};

}  // namespace snowglobe::vm
