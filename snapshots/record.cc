// snapshots/record.cc - record heads, zstd, and the order of checks when a record is read.
#include "snapshots/record.h"

#include "base/check.h"
#include "snapshots/hash.h"
#include "snapshots/limits.h"

#include <algorithm>
#include <zstd.h>

namespace snowglobe::snapshots {

namespace {

// byte  0  "SGCK"            4  codec     5  zero (3)      8  raw bytes   12  stored bytes
//      16  SHA-256 of the chunk           48  check of the payload       56  check of bytes 0..55
constexpr std::uint32_t kRecordMagic = 0x4B434753;

base::Error corrupt(const char* what) {
  return {base::ErrorCode::kCorrupt, what};
}

struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// A context is 160 KB and slow to make. Readers may be on any thread: one for each that reads.
ZSTD_DCtx* decompressor() {
  thread_local std::unique_ptr<ZSTD_DCtx, FreeDecompressor> context(ZSTD_createDCtx());
  return context.get();
}

}  // namespace

void write_record_head(const RecordHead& head, std::uint8_t (&to)[kRecordHeadBytes]) {
  std::fill(std::begin(to), std::end(to), std::uint8_t{0});
  base::store_le(&to[0], kRecordMagic);
  to[4] = static_cast<std::uint8_t>(head.codec);
  base::store_le(&to[8], head.raw_bytes);
  base::store_le(&to[12], head.stored_bytes);
  std::copy(head.hash.begin(), head.hash.end(), &to[16]);
  base::store_le(&to[48], head.payload_check);
  base::store_le(&to[56], check_of(base::ConstBytes(to, 56)));
}

base::Result<RecordHead> parse_record_head(base::ConstBytes bytes) {
  if (bytes.size() != kRecordHeadBytes) return corrupt("its head is cut off");
  if (base::load_le<std::uint32_t>(&bytes[0]) != kRecordMagic) return corrupt("no record is there");
  if (base::load_le<std::uint64_t>(&bytes[56]) != check_of(bytes.first(56))) {
    return corrupt("its head fails its checksum");
  }
  RecordHead head;
  head.codec = static_cast<Codec>(bytes[4]);
  head.raw_bytes = base::load_le<std::uint32_t>(&bytes[8]);
  head.stored_bytes = base::load_le<std::uint32_t>(&bytes[12]);
  std::copy_n(&bytes[16], head.hash.size(), head.hash.begin());
  head.payload_check = base::load_le<std::uint64_t>(&bytes[48]);
  const bool sizes_fit = head.codec == Codec::kPlain ? head.stored_bytes == head.raw_bytes
                                                     : head.stored_bytes < head.raw_bytes;
  if (head.codec > Codec::kZstd || head.raw_bytes == 0 || head.raw_bytes > kMaxChunkBytes ||
      head.stored_bytes == 0 || !sizes_fit) {
    return corrupt("its head says something impossible");
  }
  return head;
}

base::Result<void> check_payload(const RecordHead& head, base::ConstBytes payload) {
  if (payload.size() != head.stored_bytes || check_of(payload) != head.payload_check) {
    return corrupt("its stored bytes fail their checksum");
  }
  return {};
}

base::Result<void> unpack_record(const RecordHead& head, base::ConstBytes payload,
                                 base::Bytes out) {
  if (auto checked = check_payload(head, payload); !checked.ok()) return checked.error();
  if (out.size() != head.raw_bytes) return corrupt("it has another length");
  if (head.codec == Codec::kPlain) {
    std::copy(payload.begin(), payload.end(), out.begin());
  } else {
    const std::size_t length =
        ZSTD_decompressDCtx(decompressor(), out.data(), out.size(), payload.data(), payload.size());
    if (ZSTD_isError(length) != 0 || length != out.size()) {
      return corrupt("it does not decompress");
    }
  }
  if (hash_of(out) != head.hash) return corrupt("its contents have another hash");
  return {};
}

struct RecordMaker::Context {
  ZSTD_CCtx* zstd = ZSTD_createCCtx();
  ~Context() { ZSTD_freeCCtx(zstd); }
};

RecordMaker::RecordMaker(int compression_level)
    : context_(std::make_unique<Context>()), level_(compression_level) {}

RecordMaker::~RecordMaker() = default;

base::ConstBytes RecordMaker::make(base::ConstBytes chunk, const ChunkHash& hash) {
  SG_ASSERT(!chunk.empty() && chunk.size() <= kMaxChunkBytes, "size of a chunk");
  const std::size_t bound = ZSTD_compressBound(chunk.size());
  record_.resize(kRecordHeadBytes + std::max(bound, chunk.size()));
  std::uint8_t* const payload = record_.data() + kRecordHeadBytes;
  std::size_t stored =
      ZSTD_compressCCtx(context_->zstd, payload, bound, chunk.data(), chunk.size(), level_);
  RecordHead head;
  head.codec = Codec::kZstd;
  // What does not shrink by a sixteenth is not worth decompressing each time it is read.
  if (ZSTD_isError(stored) != 0 || stored > chunk.size() - chunk.size() / 16 ||
      stored >= chunk.size()) {
    head.codec = Codec::kPlain;
    stored = chunk.size();
    std::copy(chunk.begin(), chunk.end(), payload);
  }
  head.raw_bytes = static_cast<std::uint32_t>(chunk.size());
  head.stored_bytes = static_cast<std::uint32_t>(stored);
  head.hash = hash;
  head.payload_check = check_of(base::ConstBytes(payload, stored));
  std::uint8_t bytes[kRecordHeadBytes];
  write_record_head(head, bytes);
  std::copy(std::begin(bytes), std::end(bytes), record_.begin());
  return base::ConstBytes(record_).first(kRecordHeadBytes + stored);
}

}  // namespace snowglobe::snapshots
