// snapshots/copy.cc - a store as another folder: the catalogue by SQLite, the packs as they are.
#include "snapshots/core.h"

#include <algorithm>
#include <system_error>
#include <vector>

namespace snowglobe::snapshots {

namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;

base::Result<void> copy_file(base::FileSystem& files, const std::filesystem::path& from,
                             const std::filesystem::path& to) {
  const auto source = files.open(from, base::FileSystem::Access::kRead);
  if (!source.ok()) return source.error();
  const auto size = source.value()->size();
  if (!size.ok()) return size.error();
  const auto target = files.create(to);
  if (!target.ok()) return target.error();
  std::vector<std::uint8_t> piece(std::min(size.value(), kPieceBytes));
  for (std::uint64_t at = 0; at < size.value(); at += piece.size()) {
    const base::Bytes bytes = base::Bytes(piece).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), size.value() - at)));
    if (auto done = source.value()->read_at(at, bytes); !done.ok()) return done;
    if (auto done = target.value()->write_at(at, bytes); !done.ok()) return done;
  }
  return target.value()->sync();
}

}  // namespace

base::Result<void> Store::copy_to(const std::filesystem::path& target) const {
  if (auto usable = core_->check_process(); !usable.ok()) return usable;
  // Nobody removes a pack meanwhile, and packs are entered whole, so that those which the copy of
  // the catalogue needs are there.
  auto lease = core_->locks->take(kPacksLock, LockFile::Mode::kShared);
  if (!lease.ok()) return lease.error();
  base::FileSystem& files = core_->files;
  const auto packs = target / kPacksFolder;
  if (auto made = files.make_directory(target); !made.ok()) return made;
  if (auto made = files.make_directory(packs); !made.ok()) return made;
  const auto catalogue = target / kCatalogueFile;
  {
    // SQLite would make it readable for all.
    const auto file = files.create(catalogue);
    if (!file.ok()) return file.error();
  }
  if (auto done = core_->catalogue->copy_to(catalogue); !done.ok()) return done;
  {
    const auto opened = files.open(catalogue, base::FileSystem::Access::kWrite);
    if (!opened.ok()) return opened.error();
    if (auto synced = opened.value()->sync(); !synced.ok()) return synced;
  }
  const auto view = core_->view();
  if (!view.ok()) return view.error();
  for (const PackRow& pack : view.value()->packs) {
    const std::string name = pack_file_name(pack.id);
    if (auto done = copy_file(files, core_->packs_folder / name, packs / name); !done.ok()) {
      return done;
    }
  }
  if (auto done = files.sync_directory(packs); !done.ok()) return done;
  if (auto done = copy_file(files, core_->folder / kFormatFile, target / kFormatFile); !done.ok()) {
    return done;
  }
  return files.sync_directory(target);
}

void Store::remove_copy(const std::filesystem::path& copy, base::FileSystem& files) {
  for (const std::filesystem::path& folder : {copy / kPacksFolder, copy}) {
    const auto names = files.list(folder);
    if (!names.ok()) continue;
    for (const std::string& name : names.value()) {
      // SQLite has files beside the catalogue while it works.
      const bool ours = name == kFormatFile || name.starts_with(kCatalogueFile) ||
                        pack_of_file_name(name).has_value();
      if (ours) static_cast<void>(files.remove(folder / name));
    }
    std::error_code ignored;
    std::filesystem::remove(folder, ignored);
  }
}

}  // namespace snowglobe::snapshots
