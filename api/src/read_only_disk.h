// api/src/read_only_disk.h - what disks have in common that no guest can write to.
#pragma once

#include "vm/backends.h"
#include <snowglobe/export.hpp>

namespace snowglobe::detail {

class ReadOnlyDisk : public vm::BlockBackend {
 public:
  [[nodiscard]] bool read_only() const final { return true; }
  base::Result<void> write(vm::u64, base::ConstBytes) final { return refusal(); }
  base::Result<void> flush() final { return {}; }
  base::Result<void> discard(vm::u64, vm::u64) final { return refusal(); }

 private:
  static base::Error refusal() {
    return {base::ErrorCode::kUnsupported, "change a disk that can only be read"};
  }
};

}  // namespace snowglobe::detail
