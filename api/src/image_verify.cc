// api/src/image_verify.cc - reads the image's files and compares them with their hashes.
#include "api/src/image.h"

#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <mutex>
#include <openssl/evp.h>
#include <set>
#include <sys/stat.h>
#include <tuple>

namespace snowglobe::detail {
namespace {

using base::Error;
using base::ErrorCode;

Error damaged(const ImageFile& file, const std::string& what) {
  return {ErrorCode::kCorrupt, "guest image: '" + file.path.string() + "' " + what +
                                   "; make the image again with `./dev guest`"};
}

std::string hexadecimal(const std::uint8_t* bytes, std::size_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

base::Result<std::string> hash_of(const ImageFile& file) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> stream(std::fopen(file.path.c_str(), "rbe"),
                                                               std::fclose);
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free);
  if (!stream || !context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) {
    return damaged(file, "cannot be read");
  }
  std::vector<char> buffer(1 << 18);
  std::size_t count = 0;
  while ((count = std::fread(buffer.data(), 1, buffer.size(), stream.get())) > 0) {
    EVP_DigestUpdate(context.get(), buffer.data(), count);
  }
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  if (std::ferror(stream.get()) != 0 ||
      EVP_DigestFinal_ex(context.get(), digest.data(), &length) != 1) {
    return damaged(file, "cannot be read");
  }
  return hexadecimal(digest.data(), length);
}

/// What a change of a file changes; with the hash that it was found to have.
using FileIdentity = std::tuple<dev_t, ino_t, off_t, time_t, long, time_t, long, std::string>;

/// The files that were hashed in this process. A cache of facts, hence the exception from "nothing
/// global".
class VerifiedFiles {
 public:
  bool contains(const FileIdentity& identity) {
    const std::lock_guard lock(mutex_);
    return known_.contains(identity);
  }
  void add(FileIdentity identity) {
    const std::lock_guard lock(mutex_);
    known_.insert(std::move(identity));
  }

 private:
  std::mutex mutex_;
  std::set<FileIdentity> known_;
};

VerifiedFiles& verified_files() {
  static VerifiedFiles files;
  return files;
}

}  // namespace

base::Result<void> verify_image(const GuestImage& image) {
  for (const ImageFile* file : {&image.kernel, &image.root, &image.cluster}) {
    struct stat s {};
    if (stat(file->path.c_str(), &s) != 0) return damaged(*file, "is gone");
    FileIdentity identity{s.st_dev,          s.st_ino,         s.st_size,         s.st_mtim.tv_sec,
                          s.st_mtim.tv_nsec, s.st_ctim.tv_sec, s.st_ctim.tv_nsec, file->sha256};
    if (verified_files().contains(identity)) continue;
    const base::Result<std::string> hash = hash_of(*file);
    if (!hash) return hash.error();
    if (hash.value() != file->sha256) return damaged(*file, "does not have the manifest's SHA-256");
    verified_files().add(std::move(identity));
  }
  return {};
}

base::Result<std::vector<std::uint8_t>> read_image_file(const ImageFile& file) {
  std::ifstream stream(file.path, std::ios::binary);
  std::vector<std::uint8_t> contents(file.bytes);
  stream.read(static_cast<char*>(static_cast<void*>(contents.data())),
              static_cast<std::streamsize>(contents.size()));
  if (!stream || stream.peek() != std::ifstream::traits_type::eof()) {
    return damaged(file, "is not as long as the manifest says");
  }
  return contents;
}

}  // namespace snowglobe::detail
