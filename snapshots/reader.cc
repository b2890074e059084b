// snapshots/reader.cc - the references of one snapshot, and reading through them.
#include "snapshots/reader.h"

#include "base/check.h"
#include "snapshots/core.h"
#include "snapshots/hash.h"

#include <algorithm>
#include <fmt/format.h>

namespace snowglobe::snapshots {

class Reader::Impl {
 public:
  Impl(std::shared_ptr<Store::Core> core, LockFile::Lease lease, SnapshotInfo info,
       Contents contents)
      : core_(std::move(core)),
        lease_(std::move(lease)),
        info_(std::move(info)),
        contents_(std::move(contents)) {}

  [[nodiscard]] const SnapshotInfo& info() const { return info_; }
  [[nodiscard]] const ObjectContents& object(std::size_t number) const {
    SG_ASSERT(number < contents_.size(), "no such object");
    return contents_[number];
  }
  [[nodiscard]] const ChunkRef& chunk(std::size_t number, std::uint64_t index) const {
    const ObjectContents& found = object(number);
    SG_ASSERT(index < found.chunks.size(), "no such chunk");
    return found.chunks[static_cast<std::size_t>(index)];
  }
  [[nodiscard]] const ObjectContents* find(std::string_view name) const {
    const auto found =
        std::find_if(contents_.begin(), contents_.end(),
                     [&](const ObjectContents& contents) { return contents.info.name == name; });
    return found != contents_.end() ? &*found : nullptr;
  }
  [[nodiscard]] std::size_t number_of(const ObjectContents* object) const {
    return static_cast<std::size_t>(object - contents_.data());
  }

  base::Result<void> read(std::size_t number, std::uint64_t index, base::Bytes out) const {
    const ChunkRef& wanted = chunk(number, index);
    if (out.size() != object(number).info.chunk_length(index)) {
      return base::Error{base::ErrorCode::kInvalidArgument,
                         "the buffer is not as long as the chunk"};
    }
    if (wanted.id == 0) {
      std::fill(out.begin(), out.end(), std::uint8_t{0});
      return {};
    }
    if (auto usable = core_->check_process(); !usable.ok()) return usable;
    auto done = core_->read_chunk(wanted, out);
    if (done.ok()) return {};
    return base::Error{done.error().code,
                       fmt::format("read snapshot '{}', chunk {} of '{}': {}", info_.label(), index,
                                   object(number).info.name, done.error().message)};
  }

 private:
  const std::shared_ptr<Store::Core> core_;
  const LockFile::Lease lease_;
  const SnapshotInfo info_;
  const Contents contents_;
};

Reader::Reader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Reader::Reader(Reader&&) noexcept = default;
Reader& Reader::operator=(Reader&&) noexcept = default;
Reader::~Reader() = default;

const SnapshotInfo& Reader::info() const {
  return impl_->info();
}

base::Result<std::size_t> Reader::object(std::string_view name) const {
  const ObjectContents* const found = impl_->find(name);
  if (found != nullptr) return impl_->number_of(found);
  return base::Error{base::ErrorCode::kNotFound,
                     fmt::format("snapshot '{}' has no object '{}'", info().label(), name)};
}

bool Reader::is_zero(std::size_t object, std::uint64_t index) const {
  return impl_->chunk(object, index).id == 0;
}

const ChunkHash& Reader::hash(std::size_t object, std::uint64_t index) const {
  return impl_->chunk(object, index).hash;
}

base::Result<void> Reader::read(std::size_t object, std::uint64_t index, base::Bytes out) const {
  return impl_->read(object, index, out);
}

base::Result<std::vector<std::uint8_t>> Reader::read_object(std::string_view name) const {
  auto number = object(name);
  if (!number.ok()) return number.error();
  const ObjectInfo& object_info = impl_->object(number.value()).info;
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(object_info.size));
  for (std::uint64_t i = 0; i < object_info.chunk_count(); ++i) {
    const auto place = base::Bytes(bytes).subspan(
        static_cast<std::size_t>(i * object_info.chunk_bytes), object_info.chunk_length(i));
    if (auto done = read(number.value(), i, place); !done.ok()) return done.error();
  }
  return bytes;
}

std::vector<std::uint64_t> Reader::changed_since(const Reader& base, std::size_t object) const {
  const ObjectContents& ours = impl_->object(object);
  const ObjectContents* const theirs = base.impl_->find(ours.info.name);
  const bool comparable = theirs != nullptr && theirs->info.chunk_bytes == ours.info.chunk_bytes;
  std::vector<std::uint64_t> changed;
  for (std::uint64_t i = 0; i < ours.chunks.size(); ++i) {
    const bool same = comparable && i < theirs->chunks.size() &&
                      theirs->info.chunk_length(i) == ours.info.chunk_length(i) &&
                      theirs->chunks[i].hash == ours.chunks[i].hash;
    if (!same) changed.push_back(i);
  }
  return changed;
}

base::Result<Reader> Store::open(const SnapshotId& id) const {
  auto held = core_->hold(id);
  if (!held.ok()) return held.error();
  const SnapshotRow& row = *held.value().row;
  auto ids = ids_of(*held.value().view, row);
  if (!ids.ok()) return ids.error();
  auto contents = core_->catalogue->resolve(ids.value(), row.root);
  if (!contents.ok()) {
    return base::Error{
        contents.error().code,
        fmt::format("open snapshot '{}': {}", row.info.label(), contents.error().message)};
  }
  return Reader(std::make_unique<Reader::Impl>(core_, std::move(held.value().lease), row.info,
                                               std::move(contents).value()));
}

}  // namespace snowglobe::snapshots
