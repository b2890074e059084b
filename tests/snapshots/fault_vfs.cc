// tests/snapshots/fault_vfs.cc - SQLite's methods, handed on one by one.
#include "tests/snapshots/fault_vfs.h"

#include <algorithm>
#include <sqlite3.h>
#include <string>

namespace snowglobe::snapshots::testing_world {

namespace {

VfsGuard* the_world = nullptr;
sqlite3_vfs* the_host = nullptr;

/// What SQLite reserves room for; the host's file lies behind it.
struct FaultHandle {
  sqlite3_file base;
  const char* path;  // SQLite keeps it as long as the file is open
  sqlite3_file* host() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

FaultHandle* handle_of(sqlite3_file* file) {
  return reinterpret_cast<FaultHandle*>(file);
}
sqlite3_file* host_of(sqlite3_file* file) {
  return handle_of(file)->host();
}

int write_to(sqlite3_file* file, const void* data, int length, sqlite3_int64 offset) {
  using Outcome = VfsGuard::Outcome;
  sqlite3_file* const host = host_of(file);
  if (the_world != nullptr) {
    if (handle_of(file)->path != nullptr) the_world->note_write(handle_of(file)->path);
    const Outcome outcome = the_world->operation(static_cast<std::uint64_t>(length));
    if (outcome == Outcome::kFull) return SQLITE_FULL;
    if (outcome == Outcome::kTorn) {
      const int part = std::min(length, static_cast<int>(the_world->torn()));
      if (part > 0) host->pMethods->xWrite(host, data, part, offset);
    }
    if (outcome != Outcome::kDone) return SQLITE_IOERR_WRITE;
  }
  return host->pMethods->xWrite(host, data, length, offset);
}

int truncate(sqlite3_file* file, sqlite3_int64 size) {
  if (the_world != nullptr) {
    if (handle_of(file)->path != nullptr) the_world->note_write(handle_of(file)->path);
    if (the_world->operation(0) != VfsGuard::Outcome::kDone) return SQLITE_IOERR_TRUNCATE;
  }
  return host_of(file)->pMethods->xTruncate(host_of(file), size);
}

int sync(sqlite3_file* file, int) {
  if (the_world == nullptr) return SQLITE_OK;
  if (the_world->operation(0) != VfsGuard::Outcome::kDone) return SQLITE_IOERR_FSYNC;
  if (handle_of(file)->path != nullptr) the_world->note_sync(handle_of(file)->path);
  return SQLITE_OK;
}

int close(sqlite3_file* file) {
  return host_of(file)->pMethods->xClose(host_of(file));
}
int read(sqlite3_file* file, void* data, int length, sqlite3_int64 offset) {
  return host_of(file)->pMethods->xRead(host_of(file), data, length, offset);
}
int file_size(sqlite3_file* file, sqlite3_int64* size) {
  return host_of(file)->pMethods->xFileSize(host_of(file), size);
}
int lock(sqlite3_file* file, int level) {
  return host_of(file)->pMethods->xLock(host_of(file), level);
}
int unlock(sqlite3_file* file, int level) {
  return host_of(file)->pMethods->xUnlock(host_of(file), level);
}
int check_lock(sqlite3_file* file, int* result) {
  return host_of(file)->pMethods->xCheckReservedLock(host_of(file), result);
}
int control(sqlite3_file* file, int operation, void* argument) {
  return host_of(file)->pMethods->xFileControl(host_of(file), operation, argument);
}
int sector_size(sqlite3_file* file) {
  return host_of(file)->pMethods->xSectorSize(host_of(file));
}
int characteristics(sqlite3_file*) {
  return 0;
}
int shm_map(sqlite3_file* file, int page, int size, int extend, void volatile** out) {
  return host_of(file)->pMethods->xShmMap(host_of(file), page, size, extend, out);
}
int shm_lock(sqlite3_file* file, int offset, int count, int flags) {
  return host_of(file)->pMethods->xShmLock(host_of(file), offset, count, flags);
}
void shm_barrier(sqlite3_file* file) {
  host_of(file)->pMethods->xShmBarrier(host_of(file));
}
int shm_unmap(sqlite3_file* file, int remove) {
  return host_of(file)->pMethods->xShmUnmap(host_of(file), remove);
}

const sqlite3_io_methods kMethods = {
    2,         close,      read,    write_to,    truncate,        sync,    file_size, lock,
    unlock,    check_lock, control, sector_size, characteristics, shm_map, shm_lock,  shm_barrier,
    shm_unmap, nullptr,    nullptr};

int open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  FaultHandle* const handle = handle_of(file);
  handle->base.pMethods = nullptr;
  handle->path = name;
  const int result = the_host->xOpen(the_host, name, handle->host(), flags, out_flags);
  if (result == SQLITE_OK) handle->base.pMethods = &kMethods;
  return result;
}

int remove(sqlite3_vfs*, const char* name, int sync_directory) {
  if (the_world != nullptr && the_world->operation(0) != VfsGuard::Outcome::kDone) {
    return SQLITE_IOERR_DELETE;
  }
  if (the_world != nullptr) the_world->note_removal(name);
  return the_host->xDelete(the_host, name, sync_directory);
}

sqlite3_vfs make_vfs() {
  the_host = sqlite3_vfs_find(nullptr);
  sqlite3_vfs vfs = *the_host;  // all that has no file is the host's own
  vfs.szOsFile = static_cast<int>(sizeof(FaultHandle)) + the_host->szOsFile;
  vfs.zName = kFaultVfs;
  vfs.pNext = nullptr;
  vfs.xOpen = open;
  vfs.xDelete = remove;
  return vfs;
}

}  // namespace

void register_fault_vfs(VfsGuard* guard, bool as_default) {
  static sqlite3_vfs vfs = make_vfs();
  sqlite3_vfs_register(&vfs, as_default ? 1 : 0);
  the_world = guard;
}

}  // namespace snowglobe::snapshots::testing_world
