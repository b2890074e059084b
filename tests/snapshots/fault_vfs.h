// tests/snapshots/fault_vfs.h - the SQLite VFS "snowglobe-fault": SQLite's own, but whatever
// changes a file is asked for first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace snowglobe::snapshots::testing_world {

inline constexpr const char* kFaultVfs = "snowglobe-fault";

/// Who is asked. Syncs are not done.
class VfsGuard {
 public:
  enum class Outcome : std::uint8_t { kDone, kError, kFull, kTorn };

  virtual ~VfsGuard() = default;
  /// An operation that writes `bytes`; kTorn: only the first torn() of them are to be written, and
  /// then it fails.
  virtual Outcome operation(std::uint64_t bytes) = 0;
  [[nodiscard]] virtual std::size_t torn() const { return 0; }
  virtual void note_write(const std::string&) {}
  virtual void note_sync(const std::string&) {}
  virtual void note_removal(const std::string&) {}
};

/// Null: all goes through again. `as_default`: for all catalogues from now on.
void register_fault_vfs(VfsGuard* guard, bool as_default = false);

}  // namespace snowglobe::snapshots::testing_world
