// api/src/disk_base.h - what the pages of a DiskImage differ from.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "vm/types.h"
#include <snowglobe/export.hpp>

#include <functional>

namespace snowglobe::detail {

/// The contents of a disk at one instant, or as it was built: they never change. Thread rule: any
/// thread.
class DiskBase {
 public:
  virtual ~DiskBase() = default;

  [[nodiscard]] virtual vm::u64 capacity() const = 0;
  /// Any range inside capacity(). What can not be read comes as zeros, and damaged() is true from
  /// then on.
  virtual void read(vm::u64 offset, base::Bytes out) const = 0;
  /// True once read() gave out bytes that are not the right ones.
  [[nodiscard]] virtual bool damaged() const = 0;
  /// In words, once damaged() is true.
  [[nodiscard]] virtual base::Error damage() const = 0;
  /// False if the range surely reads as zeros.
  [[nodiscard]] virtual bool covers(vm::u64 offset, vm::u64 length) const = 0;

  using Visit = std::function<void(vm::u64 offset, vm::u64 length)>;
  /// Calls `visit` with ranges, in any order, outside of which all is zeros.
  virtual void for_each_data(const Visit& visit) const = 0;
  /// Calls `visit` with ranges, in any order, outside of which this is equal to `other`. The
  /// smaller one is compared as if it had zeros up to the other's end.
  virtual void for_each_difference(const DiskBase& other, const Visit& visit) const {
    if (this == &other) return;
    for_each_data(visit);
    other.for_each_data(visit);
  }
  /// True if a stored image must hold all that is not zeros; false if this is the guest image's
  /// disk, which whoever reads the stored image has as well.
  [[nodiscard]] virtual bool standalone() const = 0;
};

}  // namespace snowglobe::detail
