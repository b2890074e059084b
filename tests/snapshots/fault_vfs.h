// tests/snapshots/fault_vfs.h - the SQLite VFS "snowglobe-fault": SQLite's own, but every write
// asks a FaultFiles first.
#pragma once

namespace snowglobe::snapshots::testing_world {

class FaultFiles;

/// Null: writes go through again.
void register_fault_vfs(FaultFiles* world);

}  // namespace snowglobe::snapshots::testing_world
