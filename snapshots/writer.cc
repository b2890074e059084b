// snapshots/writer.cc - one snapshot in the making: the parent's references, and those of new
// chunks as they come out of the pipeline.
#include "snapshots/writer.h"

#include "snapshots/core.h"
#include "snapshots/metadata.h"
#include "snapshots/pipeline.h"
#include "snapshots/publication.h"
#include "snapshots/writer_impl.h"

#include <algorithm>
#include <bit>
#include <fmt/format.h>

namespace snowglobe::snapshots {

namespace {

base::Error invalid(std::string message) {
  return {base::ErrorCode::kInvalidArgument, std::move(message)};
}

bool is_chunk_size(std::uint32_t bytes) {
  return bytes >= kMinChunkBytes && bytes <= kMaxChunkBytes && std::has_single_bit(bytes);
}

}  // namespace

Writer::Impl::Impl(std::shared_ptr<Store::Core> core, std::unique_ptr<ChunkSink> sink,
                   const WriterOptions& options)
    : core_(std::move(core)),
      sink_(std::move(sink)),
      id_(options.id ? *options.id : core_->new_id()),
      pipeline_(*sink_, std::min(options.threads.value_or(core_->options.threads), 16u),
                options.compression_level.value_or(core_->options.compression_level),
                [this](const Pipeline::Task& task, base::Result<ChunkRef> chunk) {
                  on_done(task, std::move(chunk));
                }) {}

base::Result<void> Writer::Impl::inherit(const SnapshotId& parent) {
  auto held = core_->hold(parent);
  if (!held.ok()) return held.error();
  auto ids = ids_of(*held.value().view, *held.value().row);
  if (!ids.ok()) return ids.error();
  auto contents = core_->catalogue->resolve(ids.value(), held.value().row->root);
  if (!contents.ok()) return contents.error();
  for (ObjectContents& object : contents.value()) {
    const std::size_t chunks = object.chunks.size();
    entries_.push_back({std::move(object), std::vector<std::uint64_t>(chunks), false, false});
  }
  parent_ = parent;
  lease_ = std::move(held.value().lease);
  return {};
}

Writer::Impl::Entry* Writer::Impl::find(std::string_view name) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.contents.info.name == name && !entry.dropped;
  });
  return found != entries_.end() ? &*found : nullptr;
}

base::Result<void> Writer::Impl::check_room(const Entry* grows, std::uint64_t chunks) const {
  std::uint64_t sum = chunks;
  std::size_t objects = grows == nullptr ? 1 : 0;
  for (const Entry& entry : entries_) {
    if (entry.dropped) continue;
    ++objects;
    if (&entry != grows) sum += entry.contents.chunks.size();
  }
  if (sum <= kMaxChunks && objects <= kMaxObjects) return {};
  return base::Error{base::ErrorCode::kResourceExhausted,
                     fmt::format("a snapshot can have {} objects and {} chunks: use larger chunks",
                                 kMaxObjects, kMaxChunks)};
}

base::Result<std::size_t> Writer::Impl::object(std::string_view name, std::uint64_t size,
                                               std::uint32_t chunk_bytes) {
  if (auto usable = check_usable(); !usable.ok()) return usable.error();
  if (auto checked = check_object_name(name); !checked.ok()) return checked.error();
  Entry* entry = find(name);
  if (chunk_bytes == 0) {
    chunk_bytes = entry != nullptr ? entry->contents.info.chunk_bytes : core_->options.chunk_bytes;
  }
  if (!is_chunk_size(chunk_bytes)) {
    return invalid(fmt::format("chunks of {} bytes: a power of two from {} to {} is needed",
                               chunk_bytes, kMinChunkBytes, kMaxChunkBytes));
  }
  const ObjectInfo info{std::string(name), size, chunk_bytes};
  if (auto room = check_room(entry, info.chunk_count()); !room.ok()) return room.error();
  if (entry == nullptr) {
    const auto chunks = static_cast<std::size_t>(info.chunk_count());
    Entry added{
        {info, std::vector<ChunkRef>(chunks)}, std::vector<std::uint64_t>(chunks), false, false};
    const std::lock_guard lock(mutex_);
    entries_.push_back(std::move(added));
    return entries_.size() - 1;
  }
  if (chunk_bytes != entry->contents.info.chunk_bytes) {
    return invalid(fmt::format("'{}' has chunks of {} bytes in the parent: drop() it first", name,
                               entry->contents.info.chunk_bytes));
  }
  if (auto resized = resize(*entry, size); !resized.ok()) return resized.error();
  return static_cast<std::size_t>(entry - entries_.data());
}

// The chunk at the smaller of both ends has another length now: it is read, cut or extended, and
// written anew.
base::Result<void> Writer::Impl::resize(Entry& entry, std::uint64_t size) {
  ObjectInfo& info = entry.contents.info;
  if (size == info.size) return {};
  if (entry.written) {
    return invalid(fmt::format("set the size of '{}' before its first put()", info.name));
  }
  const ObjectInfo old = info;
  info.size = size;
  const std::uint64_t common = std::min(old.chunk_count(), info.chunk_count());
  entry.contents.chunks.resize(static_cast<std::size_t>(info.chunk_count()));
  entry.turns.resize(static_cast<std::size_t>(info.chunk_count()));
  if (common == 0 || old.chunk_length(common - 1) == info.chunk_length(common - 1)) return {};
  const ChunkRef last = entry.contents.chunks[static_cast<std::size_t>(common - 1)];
  if (all_zero(last.hash)) return {};
  std::vector<std::uint8_t> bytes(old.chunk_length(common - 1));
  if (auto read = core_->read_chunk(last, bytes); !read.ok()) return fail(read.error());
  bytes.resize(info.chunk_length(common - 1));
  return put(static_cast<std::size_t>(&entry - entries_.data()), common - 1, bytes);
}

base::Result<void> Writer::Impl::drop(std::string_view name) {
  if (auto usable = check_usable(); !usable.ok()) return usable;
  Entry* const entry = find(name);
  if (entry == nullptr) {
    return base::Error{base::ErrorCode::kNotFound, fmt::format("there is no object '{}'", name)};
  }
  entry->dropped = true;
  return {};
}

base::Result<void> Writer::Impl::put(std::size_t object, std::uint64_t index,
                                     base::ConstBytes bytes) {
  if (auto usable = check_usable(); !usable.ok()) return usable;
  if (object >= entries_.size() || entries_[object].dropped) return invalid("no such object");
  Entry& entry = entries_[object];
  const ObjectInfo& info = entry.contents.info;
  if (index >= info.chunk_count() || bytes.size() != info.chunk_length(index)) {
    return invalid(
        fmt::format("chunk {} of '{}' with {} bytes: the object has {} chunks of {} bytes", index,
                    info.name, bytes.size(), info.chunk_count(), info.chunk_bytes));
  }
  entry.written = true;
  const std::uint64_t turn = ++last_turn_;
  const bool zeros = base::all_zero(bytes);
  {
    const std::lock_guard lock(mutex_);
    entry.turns[static_cast<std::size_t>(index)] = turn;
    if (zeros) entry.contents.chunks[static_cast<std::size_t>(index)] = ChunkRef{};
  }
  if (!zeros) pipeline_.submit(object, index, turn, bytes);
  return {};
}

base::Result<std::size_t> Writer::Impl::put_object(std::string_view name, base::ConstBytes bytes) {
  if (auto usable = check_usable(); !usable.ok()) return usable.error();
  if (Entry* const entry = find(name); entry != nullptr) {
    entry->dropped = true;  // all of it is new: nothing is to be read from the parent
  }
  auto number = object(name, bytes.size(), 0);
  if (!number.ok()) return number;
  const ObjectInfo info = entries_[number.value()].contents.info;
  for (std::uint64_t i = 0; i < info.chunk_count(); ++i) {
    const auto chunk =
        bytes.subspan(static_cast<std::size_t>(i * info.chunk_bytes), info.chunk_length(i));
    if (auto done = put(number.value(), i, chunk); !done.ok()) return done.error();
  }
  return number;
}

void Writer::Impl::on_done(const Pipeline::Task& task, base::Result<ChunkRef> chunk) {
  const std::lock_guard lock(mutex_);
  if (!chunk.ok()) {
    if (!error_.has_value()) error_ = chunk.error();
    return;
  }
  // A later put() of the same chunk may have been quicker.
  Entry& entry = entries_[task.object];
  const auto index = static_cast<std::size_t>(task.index);
  if (entry.turns[index] == task.turn) entry.contents.chunks[index] = chunk.value();
}

base::Result<void> Writer::Impl::check_usable() {
  if (auto usable = core_->check_process(); !usable.ok()) return usable;
  const std::lock_guard lock(mutex_);
  if (committed_) return invalid("the writer was committed: begin another one");
  if (error_.has_value()) return *error_;
  return {};
}

base::Error Writer::Impl::fail(base::Error error) {
  const std::lock_guard lock(mutex_);
  if (!error_.has_value()) error_ = error;
  return error;
}

base::Result<SnapshotInfo> Writer::Impl::commit(const Metadata& metadata,
                                                const CommitOptions& options) {
  if (auto usable = check_usable(); !usable.ok()) return usable.error();
  if (auto checked = check_metadata(metadata); !checked.ok()) return checked.error();
  pipeline_.drain();
  if (auto usable = check_usable(); !usable.ok()) return usable.error();
  if (auto synced = sink_->sync(); !synced.ok()) return fail(synced.error());
  NewSnapshot snapshot;
  snapshot.info.id = id_;
  snapshot.info.parent = parent_;
  snapshot.info.metadata = metadata;
  if (!metadata.created.has_value()) snapshot.info.metadata.created = core_->clock.wall();
  snapshot.info.new_bytes = sink_->new_bytes();
  for (const Entry& entry : entries_) {
    if (!entry.dropped) snapshot.contents.push_back(entry.contents);
  }
  std::sort(snapshot.contents.begin(), snapshot.contents.end(),
            [](const auto& a, const auto& b) { return a.info.name < b.info.name; });
  return publish(std::move(snapshot), options);
}

base::Result<SnapshotInfo> Writer::Impl::publish(NewSnapshot snapshot,
                                                 const CommitOptions& options) {
  Publication publication(*core_, *sink_);
  if (auto begun = publication.begin(); !begun.ok()) return fail(begun.error());
  if (publication.view().find(id_) != nullptr) {
    return fail({base::ErrorCode::kAlreadyExists, "snapshot " + id_.hex() + " is there already"});
  }
  auto info = publication.add(std::move(snapshot),
                              options.take_name ? NameTaken::kTakeOver : NameTaken::kRefuse);
  // A name that is taken can be given up: the caller may commit again.
  if (!info.ok() && info.error().code == base::ErrorCode::kAlreadyExists) return info;
  if (!info.ok()) return fail(info.error());
  if (auto committed = publication.commit(); !committed.ok()) return fail(committed.error());
  committed_ = true;
  return info;
}

Writer::Writer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Writer::Writer(Writer&&) noexcept = default;
Writer& Writer::operator=(Writer&&) noexcept = default;
Writer::~Writer() = default;

const SnapshotId& Writer::id() const {
  return impl_->id();
}

base::Result<std::size_t> Writer::object(std::string_view name, std::uint64_t size,
                                         std::uint32_t chunk_bytes) {
  return impl_->object(name, size, chunk_bytes);
}

base::Result<void> Writer::drop(std::string_view name) {
  return impl_->drop(name);
}

base::Result<void> Writer::put(std::size_t object, std::uint64_t index, base::ConstBytes bytes) {
  return impl_->put(object, index, bytes);
}

base::Result<std::size_t> Writer::put_object(std::string_view name, base::ConstBytes bytes) {
  return impl_->put_object(name, bytes);
}

base::Result<SnapshotInfo> Writer::commit(const Metadata& metadata, const CommitOptions& options) {
  return impl_->commit(metadata, options);
}

base::Result<Writer> Store::begin(std::optional<SnapshotId> parent, const WriterOptions& options) {
  auto sink = ChunkSink::create(core_);
  if (!sink.ok()) return sink.error();
  auto impl = std::make_unique<Writer::Impl>(core_, std::move(sink).value(), options);
  if (parent.has_value()) {
    if (auto inherited = impl->inherit(*parent); !inherited.ok()) return inherited.error();
  }
  return Writer(std::move(impl));
}

}  // namespace snowglobe::snapshots
