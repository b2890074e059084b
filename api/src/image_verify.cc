// api/src/image_verify.cc - reads the image's files and compares them with their hashes.
#include "api/src/image.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <mutex>
#include <openssl/evp.h>
#include <optional>
#include <set>
#include <sys/stat.h>

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

/// Changes whenever the file does; with the hash that it should have. Nullopt: it is gone.
std::optional<std::string> identity_of(const ImageFile& file) {
  struct stat s {};
  if (stat(file.path.c_str(), &s) != 0) return std::nullopt;
  std::string identity;
  for (const auto number :
       {static_cast<std::int64_t>(s.st_dev), static_cast<std::int64_t>(s.st_ino),
        static_cast<std::int64_t>(s.st_size), static_cast<std::int64_t>(s.st_mtim.tv_sec),
        static_cast<std::int64_t>(s.st_mtim.tv_nsec), static_cast<std::int64_t>(s.st_ctim.tv_sec),
        static_cast<std::int64_t>(s.st_ctim.tv_nsec)}) {
    identity += std::to_string(number) + " ";
  }
  return identity + file.sha256;
}

/// The files that were hashed. A cache of facts, hence the exception from "nothing global".
class VerifiedFiles {
 public:
  bool contains(const std::string& identity) {
    const std::lock_guard lock(mutex_);
    return known_.contains(identity);
  }
  void add(std::string identity) {
    const std::lock_guard lock(mutex_);
    known_.insert(std::move(identity));
  }

 private:
  std::mutex mutex_;
  std::set<std::string> known_;
};

VerifiedFiles& verified_files() {
  static VerifiedFiles* const files = new VerifiedFiles;  // as long as any database
  return *files;
}

std::array<const ImageFile*, 3> files_of(const GuestImage& image) {
  return {&image.kernel, &image.root, &image.cluster};
}

}  // namespace

base::Result<void> verify_file(const ImageFile& file) {
  std::optional<std::string> identity = identity_of(file);
  if (!identity) return damaged(file, "is gone");
  if (verified_files().contains(*identity)) return {};
  const base::Result<std::string> hash = hash_of(file);
  if (!hash) return hash.error();
  if (hash.value() != file.sha256) return damaged(file, "does not have the manifest's SHA-256");
  verified_files().add(std::move(*identity));
  return {};
}

base::Result<void> verify_image(const GuestImage& image) {
  for (const ImageFile* file : files_of(image)) {
    if (auto good = verify_file(*file); !good) return good;
  }
  return {};
}

std::vector<std::string> verified_names(const GuestImage& image) {
  std::vector<std::string> names;
  for (const ImageFile* file : files_of(image)) {
    std::optional<std::string> identity = identity_of(*file);
    if (identity && verified_files().contains(*identity)) names.push_back(std::move(*identity));
  }
  return names;
}

void trust_verified(const GuestImage& image, const std::vector<std::string>& names) {
  for (const ImageFile* file : files_of(image)) {
    std::optional<std::string> identity = identity_of(*file);
    if (identity && std::ranges::find(names, *identity) != names.end()) {
      verified_files().add(std::move(*identity));
    }
  }
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
