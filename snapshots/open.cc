// snapshots/open.cc - opening a folder: making a store in an empty one, and leaving folders of
// other programs alone.
#include "snapshots/core.h"

#include <algorithm>
#include <bit>
#include <fmt/format.h>

namespace snowglobe::snapshots {

namespace {

constexpr std::string_view kNewFormatFile = "snowglobe-format.new";
constexpr std::string_view kLockFile = "snowglobe.lock";
constexpr std::string_view kFormatTitle = "Snowglobe snapshot store\nformat ";
constexpr std::string_view kFormatText = "Snowglobe snapshot store\nformat 1\n";
constexpr std::string_view kReadme =
    "This folder is a store of Snowglobe snapshots: states of whole database servers, memory and\n"
    "disks, with all that was in them (rows, passwords). `snowglobe list` and `snowglobe rm` look\n"
    "after it; do not change or move single files. packs/ has the contents, compressed and\n"
    "checksummed; catalogue.sqlite knows which snapshot needs what. Whole folders can be copied\n"
    "while no process uses them.\n";

base::Error not_a_store(const std::filesystem::path& folder) {
  return {base::ErrorCode::kInvalidArgument,
          fmt::format("'{}' is not a snapshot store, and not empty: nothing in it was changed; "
                      "choose another folder",
                      folder.string())};
}

bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Empty, or left by one who crashed before the store was one.
bool may_become_store(const std::vector<std::string>& names) {
  return std::all_of(names.begin(), names.end(), [](const std::string& name) {
    return name == kNewFormatFile || name == kLockFile;
  });
}

base::Result<void> check_format(base::FileSystem& files, const std::filesystem::path& folder) {
  auto file = files.open(folder / kFormatFile, base::FileSystem::Access::kRead);
  if (!file.ok()) return file.error();
  auto size = file.value()->size();
  if (!size.ok()) return size.error();
  std::string text(static_cast<std::size_t>(std::min<std::uint64_t>(size.value(), 100)), '\0');
  const base::Bytes place(reinterpret_cast<std::uint8_t*>(text.data()), text.size());
  if (auto read = file.value()->read_at(0, place); !read.ok()) return read.error();
  if (text == kFormatText) return {};
  if (!text.starts_with(kFormatTitle)) return not_a_store(folder);
  return base::Error{base::ErrorCode::kUnsupported,
                     fmt::format("the store '{}' has a format that this library does not know: use "
                                 "a newer library",
                                 folder.string())};
}

base::Result<void> write_file(base::FileSystem& files, const std::filesystem::path& path,
                              std::string_view text) {
  auto file = files.write_file(path, base::bytes_of(text));
  if (!file.ok()) return file.error();
  return file.value()->sync();
}

/// Looks before anything is touched. True: it is a store; false: it may become one.
base::Result<bool> look_at_folder(Store::Core& core) {
  if (!core.files.exists(core.folder)) {
    if (!core.options.create || core.options.read_only) {
      return base::Error{base::ErrorCode::kNotFound,
                         fmt::format("there is no store '{}'", core.folder.string())};
    }
    auto made = core.files.make_directory(core.folder);
    if (!made.ok() && made.error().code != base::ErrorCode::kAlreadyExists) return made.error();
  }
  auto names = core.files.list(core.folder);
  if (!names.ok()) return names.error();
  if (has(names.value(), kFormatFile)) {
    if (auto format = check_format(core.files, core.folder); !format.ok()) return format.error();
    return true;
  }
  if (!may_become_store(names.value())) return not_a_store(core.folder);
  if (core.options.create && !core.options.read_only) return false;
  return base::Error{base::ErrorCode::kNotFound,
                     fmt::format("there is no store in '{}'", core.folder.string())};
}

// The file that says what the folder is comes first: from then on it is ours, and all else can be
// made by whoever opens it next.
base::Result<void> make_store(Store::Core& core) {
  base::FileSystem& files = core.files;
  if (files.exists(core.folder / kFormatFile)) return {};  // somebody was quicker
  const auto temporary = core.folder / kNewFormatFile;
  if (auto written = write_file(files, temporary, kFormatText); !written.ok()) return written;
  if (auto renamed = files.rename(temporary, core.folder / kFormatFile); !renamed.ok()) {
    return renamed;
  }
  return files.sync_directory(core.folder);
}

base::Result<void> open_catalogue(Store::Core& core) {
  if (!core.files.exists(core.folder / "README")) {
    auto readme = write_file(core.files, core.folder / "README", kReadme);
    if (!readme.ok()) return readme;
  }
  if (!core.files.exists(core.packs_folder)) {
    if (auto made = core.files.make_directory(core.packs_folder); !made.ok()) return made;
  }
  auto names = core.files.list(core.packs_folder);
  if (!names.ok()) return names.error();
  const bool has_packs =
      std::any_of(names.value().begin(), names.value().end(),
                  [](const std::string& name) { return pack_of_file_name(name).has_value(); });
  const auto path = core.folder / kCatalogueFile;
  if (!core.files.exists(path)) {
    if (has_packs) {
      return base::Error{
          base::ErrorCode::kCorrupt,
          fmt::format("'{}' is not there, but packs are: put back a copy of it", path.string())};
    }
    // SQLite would make it readable for all; its other files get the rights that this one has.
    if (auto created = core.files.create(path); !created.ok()) return created.error();
  }
  auto catalogue =
      Catalogue::open(path, core.options.sqlite_vfs, core.options.wait_limit, has_packs);
  if (!catalogue.ok()) return catalogue.error();
  core.catalogue = std::move(catalogue).value();
  return core.files.sync_directory(core.folder);
}

// Best effort: if it can not be done now, the next one does it.
void sweep_if_alone(Store::Core& core) {
  auto alone = core.locks->take(kPacksLock, LockFile::Mode::kExclusive, LockFile::Wait::kNo);
  if (!alone.ok()) return;
  if (auto swept = core.sweep_unknown_packs(); !swept.ok()) {
    core.log(base::LogLevel::kWarning, swept.error().message);
  }
}

base::Result<void> check_options(const StoreOptions& options) {
  if (!std::has_single_bit(options.chunk_bytes) || options.chunk_bytes < kMinChunkBytes ||
      options.chunk_bytes > kMaxChunkBytes) {
    return base::Error{base::ErrorCode::kInvalidArgument,
                       fmt::format("chunk_bytes is {}: a power of two from {} to {} is needed",
                                   options.chunk_bytes, kMinChunkBytes, kMaxChunkBytes)};
  }
  return {};
}

/// What a store has: without it, it is none that can be read.
base::Error lacks(const base::Error& error) {
  if (error.code != base::ErrorCode::kNotFound) return error;
  return {base::ErrorCode::kCorrupt, error.message + "; the store is not whole"};
}

/// Changes nothing.
base::Result<void> open_read_only(Store::Core& core) {
  auto locks = LockFile::open(core.files, core.folder / kLockFile, core.options.wait_limit,
                              LockFile::Access::kShared);
  if (!locks.ok()) return lacks(locks.error());
  core.locks = locks.value();
  auto setup = core.locks->take(kSetupLock, LockFile::Mode::kShared);
  if (!setup.ok()) return setup.error();
  auto reading = core.locks->take(kPacksLock, LockFile::Mode::kShared);
  if (!reading.ok()) return reading.error();
  core.reading = std::move(reading).value();
  auto catalogue = Catalogue::open_image(core.files, core.folder / kCatalogueFile);
  if (!catalogue.ok()) return lacks(catalogue.error());
  core.catalogue = std::move(catalogue).value();
  return {};
}

}  // namespace

base::Result<std::unique_ptr<Store>> Store::open_folder(const std::filesystem::path& folder,
                                                        const StoreOptions& options) {
  if (auto checked = check_options(options); !checked.ok()) return checked.error();
  auto core = std::make_shared<Core>(folder, options);
  auto is_store = look_at_folder(*core);
  if (!is_store.ok()) return is_store.error();
  if (options.read_only) {
    if (auto opened = open_read_only(*core); !opened.ok()) return opened.error();
    return std::unique_ptr<Store>(new Store(std::move(core)));
  }
  auto locks =
      LockFile::open(core->files, folder / kLockFile, options.wait_limit, LockFile::Access::kAll);
  if (!locks.ok()) return locks.error();
  core->locks = locks.value();
  {
    auto setup = core->locks->take(kSetupLock, LockFile::Mode::kExclusive);
    if (!setup.ok()) return setup.error();
    if (!is_store.value()) {
      if (auto made = make_store(*core); !made.ok()) return made.error();
    }
    if (auto opened = open_catalogue(*core); !opened.ok()) return opened.error();
  }
  sweep_if_alone(*core);
  return std::unique_ptr<Store>(new Store(std::move(core)));
}

}  // namespace snowglobe::snapshots
