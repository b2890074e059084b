// snapshots/chunk_list.cc - variable-length integers and runs.
//
// list    := version=1 (byte)  has_base (byte)  count (varint)  object*
// object  := name (varint length, bytes)  size (varint)  log2 of chunk bytes (byte)
//            runs (varint)  run*
// run     := skip (varint; with a base: chunks that are as there)
//            length * 2 + zeros (varint)
//            unless zeros: first id minus the id after the last run's (zigzag varint)
// What follows the last run is as in the base; without a base nothing may follow and nothing be
// skipped.
#include "snapshots/chunk_list.h"

#include "snapshots/limits.h"

#include <algorithm>
#include <bit>

namespace snowglobe::snapshots {

namespace {

constexpr std::uint8_t kListVersion = 1;
constexpr std::uint64_t kMaxId = std::uint64_t{1} << 62;

base::Error corrupt(const char* what) {
  return {base::ErrorCode::kCorrupt, std::string("list of chunks: ") + what};
}

class ListWriter {
 public:
  void byte(std::uint8_t value) { bytes_.push_back(value); }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7)
      bytes_.push_back(static_cast<std::uint8_t>(value | 0x80));
    bytes_.push_back(static_cast<std::uint8_t>(value));
  }
  void text(std::string_view value) {
    varint(value.size());
    bytes_.insert(bytes_.end(), value.begin(), value.end());
  }
  std::vector<std::uint8_t> take() { return std::move(bytes_); }

 private:
  std::vector<std::uint8_t> bytes_;
};

/// After a failure everything is zero and ok() is false.
class ListReader {
 public:
  explicit ListReader(base::ConstBytes bytes) : rest_(bytes) {}

  std::uint8_t byte() {
    if (rest_.empty()) return fail();
    const std::uint8_t value = rest_[0];
    rest_ = rest_.subspan(1);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint8_t part = byte();
      // The tenth byte has room for one bit, and a last byte of zero would be a second spelling.
      if ((shift == 63 && part > 1) || (shift != 0 && part == 0)) return fail();
      value |= static_cast<std::uint64_t>(part & 0x7F) << shift;
      if ((part & 0x80) == 0) return ok_ ? value : 0;
    }
    return fail();
  }
  std::string text(std::size_t limit) {
    const std::uint64_t length = varint();
    if (length > limit || length > rest_.size()) {
      fail();
      return {};
    }
    std::string value(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(length));
    rest_ = rest_.subspan(static_cast<std::size_t>(length));
    return value;
  }
  std::uint8_t fail() {
    ok_ = false;
    rest_ = {};
    return 0;
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool finished() const { return ok_ && rest_.empty(); }

 private:
  base::ConstBytes rest_;
  bool ok_ = true;
};

std::uint64_t zigzag(std::uint64_t from, std::uint64_t to) {
  const std::uint64_t difference = to - from;
  return (difference << 1) ^ ((difference >> 63) != 0 ? ~std::uint64_t{0} : 0);
}

std::uint64_t unzigzag(std::uint64_t from, std::uint64_t coded) {
  return from + ((coded >> 1) ^ ((coded & 1) != 0 ? ~std::uint64_t{0} : 0));
}

struct Run {
  std::uint64_t skip = 0;
  std::uint64_t count = 0;
  std::uint64_t first = 0;  // 0: zeros
};

struct ParsedObject {
  ObjectInfo info;
  std::vector<Run> runs;
};

struct ParsedList {
  bool has_base = false;
  std::vector<ParsedObject> objects;
};

// The object of `base` that chunks can be inherited from.
const ObjectIds* same_object(const SnapshotIds* base, const ObjectInfo& info) {
  if (base == nullptr) return nullptr;
  const auto found = std::find_if(base->begin(), base->end(), [&](const ObjectIds& object) {
    return object.info.name == info.name;
  });
  return found != base->end() && found->info.chunk_bytes == info.chunk_bytes ? &*found : nullptr;
}

std::vector<Run> runs_of(const ObjectIds& object, const ObjectIds* base) {
  std::vector<Run> runs;
  std::uint64_t skip = 0;
  for (std::uint64_t i = 0; i < object.ids.size(); ++i) {
    const std::uint64_t id = object.ids[i];
    if (base != nullptr && i < base->ids.size() && base->ids[i] == id) {
      ++skip;
      continue;
    }
    const bool goes_on =
        !runs.empty() && skip == 0 &&
        (id == 0 ? runs.back().first == 0
                 : runs.back().first != 0 && runs.back().first + runs.back().count == id);
    if (goes_on) {
      ++runs.back().count;
    } else {
      runs.push_back({skip, 1, id});
      skip = 0;
    }
  }
  return runs;
}

bool read_info(ListReader& in, ObjectInfo& info) {
  info.name = in.text(kMaxNameBytes);
  info.size = in.varint();
  const std::uint8_t log2 = in.byte();
  if (!in.ok() || info.name.empty() || log2 > 31) return false;
  info.chunk_bytes = std::uint32_t{1} << log2;
  return info.chunk_bytes >= kMinChunkBytes && info.chunk_bytes <= kMaxChunkBytes;
}

bool read_runs(ListReader& in, bool has_base, std::uint64_t chunks, std::vector<Run>& runs) {
  std::uint64_t left = chunks;
  std::uint64_t next_id = 1;
  const std::uint64_t count = in.varint();
  for (std::uint64_t i = 0; i < count && in.ok(); ++i) {
    Run run;
    run.skip = in.varint();
    const std::uint64_t length = in.varint();
    run.count = length >> 1;
    if ((length & 1) == 0) {
      run.first = unzigzag(next_id, in.varint());
      if (run.first == 0 || run.first > kMaxId || run.count > kMaxId) return false;
      next_id = run.first + run.count;
    }
    if (run.skip > left || run.count == 0 || run.count > left - run.skip) return false;
    if (run.skip != 0 && !has_base) return false;
    left -= run.skip + run.count;
    runs.push_back(run);
  }
  return in.ok() && (has_base || left == 0);
}

base::Result<ParsedList> parse_list(base::ConstBytes bytes) {
  ListReader in(bytes);
  if (in.byte() != kListVersion) return corrupt("unknown version");
  ParsedList list;
  const std::uint8_t has_base = in.byte();
  if (has_base > 1) return corrupt("it says something impossible");
  list.has_base = has_base == 1;
  const std::uint64_t count = in.varint();
  if (count > kMaxObjects) return corrupt("too many objects");
  std::uint64_t chunks = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    ParsedObject object;
    if (!read_info(in, object.info)) return corrupt("an object makes no sense");
    if (!list.objects.empty() && list.objects.back().info.name >= object.info.name) {
      return corrupt("objects out of order");
    }
    if (object.info.chunk_count() > kMaxChunks - chunks) return corrupt("too many chunks");
    chunks += object.info.chunk_count();
    if (!read_runs(in, list.has_base, object.info.chunk_count(), object.runs)) {
      return corrupt("a run makes no sense");
    }
    list.objects.push_back(std::move(object));
  }
  if (!in.finished()) return corrupt("it does not end where it should");
  return list;
}

ObjectIds expand(ParsedObject& parsed, const ObjectIds* base) {
  ObjectIds object{std::move(parsed.info), {}};
  object.ids.resize(static_cast<std::size_t>(object.info.chunk_count()));
  if (base != nullptr) {
    std::copy_n(base->ids.begin(), std::min(base->ids.size(), object.ids.size()),
                object.ids.begin());
  }
  std::size_t at = 0;
  for (const Run& run : parsed.runs) {
    at += static_cast<std::size_t>(run.skip);
    for (std::uint64_t i = 0; i < run.count; ++i)
      object.ids[at++] = run.first == 0 ? 0 : run.first + i;
  }
  return object;
}

}  // namespace

std::vector<std::uint8_t> encode_list(const SnapshotIds& ids, const SnapshotIds* base) {
  ListWriter out;
  out.byte(kListVersion);
  out.byte(base != nullptr ? 1 : 0);
  out.varint(ids.size());
  for (const ObjectIds& object : ids) {
    out.text(object.info.name);
    out.varint(object.info.size);
    out.byte(static_cast<std::uint8_t>(std::countr_zero(object.info.chunk_bytes)));
    const std::vector<Run> runs = runs_of(object, same_object(base, object.info));
    out.varint(runs.size());
    std::uint64_t next_id = 1;
    for (const Run& run : runs) {
      out.varint(run.skip);
      out.varint(run.count << 1 | (run.first == 0 ? 1 : 0));
      if (run.first == 0) continue;
      out.varint(zigzag(next_id, run.first));
      next_id = run.first + run.count;
    }
  }
  return out.take();
}

base::Result<SnapshotIds> decode_list(base::ConstBytes bytes, const SnapshotIds* base) {
  auto list = parse_list(bytes);
  if (!list.ok()) return list.error();
  if (list.value().has_base != (base != nullptr)) return corrupt("its base is not what it says");
  SnapshotIds ids;
  for (ParsedObject& object : list.value().objects) {
    const ObjectIds* from = same_object(base, object.info);
    ids.push_back(expand(object, from));
  }
  return ids;
}

base::Result<std::vector<IdRun>> ids_in_list(base::ConstBytes bytes) {
  auto list = parse_list(bytes);
  if (!list.ok()) return list.error();
  std::vector<IdRun> found;
  for (const ParsedObject& object : list.value().objects) {
    for (const Run& run : object.runs) {
      if (run.first != 0) found.push_back({run.first, run.count});
    }
  }
  return found;
}

base::Result<std::vector<ObjectInfo>> objects_in_list(base::ConstBytes bytes) {
  auto list = parse_list(bytes);
  if (!list.ok()) return list.error();
  std::vector<ObjectInfo> objects;
  for (ParsedObject& object : list.value().objects)
    objects.push_back(std::move(object.info));
  return objects;
}

}  // namespace snowglobe::snapshots
