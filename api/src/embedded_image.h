// api/src/embedded_image.h - an image in the memory of the program: who registered it, and a disk
// on its root file.
#pragma once

#include "api/src/read_only_disk.h"
#include "base/bytes.h"
#include <snowglobe/image.hpp>

#include <map>
#include <memory>
#include <string>

namespace snowglobe::detail {

/// By name. Never changes.
using EmbeddedImage = std::map<std::string, base::ConstBytes, std::less<>>;

/// What register_image() was told last; null: nothing. Any thread.
std::shared_ptr<const EmbeddedImage> registered_image();

/// A read-only disk on bytes that outlive it. A last sector that is cut off is padded with zeros.
class EmbeddedDisk final : public ReadOnlyDisk {
 public:
  explicit EmbeddedDisk(base::ConstBytes contents);

 private:
  base::Result<void> fetch(vm::u64 offset, base::Bytes out) override;

  base::ConstBytes contents_;
};

}  // namespace snowglobe::detail
