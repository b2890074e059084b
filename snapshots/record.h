// snapshots/record.h - one chunk as packs and exported files hold it: a head that describes and
// checks itself, then the bytes, mostly compressed. Layout: docs/snapshots.md.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "snapshots/reader.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace snowglobe::snapshots {

inline constexpr std::size_t kRecordHeadBytes = 64;

enum class Codec : std::uint8_t { kPlain = 0, kZstd = 1 };

struct RecordHead {
  Codec codec = Codec::kPlain;
  std::uint32_t raw_bytes = 0;      ///< of the chunk, 1 to kMaxChunkBytes
  std::uint32_t stored_bytes = 0;   ///< behind the head; kPlain: the same; kZstd: fewer
  ChunkHash hash{};                 ///< of the chunk
  std::uint64_t payload_check = 0;  ///< check_of() the stored bytes
};

/// Head and payload must be `kRecordHeadBytes` and `stored_bytes` long. The errors are kCorrupt,
/// and their messages go behind the name of the place: "its head fails its checksum".
base::Result<RecordHead> parse_record_head(base::ConstBytes head);
base::Result<void> check_payload(const RecordHead& head, base::ConstBytes payload);
/// Checks and decompresses into `out`, which is `raw_bytes` long, and compares the hash.
base::Result<void> unpack_record(const RecordHead& head, base::ConstBytes payload, base::Bytes out);

/// Makes records. Not for several threads at once; one for each.
class RecordMaker {
 public:
  explicit RecordMaker(int compression_level);
  ~RecordMaker();
  RecordMaker(const RecordMaker&) = delete;
  RecordMaker& operator=(const RecordMaker&) = delete;

  /// Head and payload of `chunk`, whose hash is known. Valid until the next call.
  base::ConstBytes make(base::ConstBytes chunk, const ChunkHash& hash);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
  const int level_;
  std::vector<std::uint8_t> record_;
};

/// The head in front of a payload that is stored already.
void write_record_head(const RecordHead& head, std::uint8_t (&to)[kRecordHeadBytes]);

}  // namespace snowglobe::snapshots
