// api/src/image_verify.cc - reads the image's files and compares them with their hashes.
#include "api/src/errors.h"
#include "api/src/image.h"
#include "api/src/ready_files.h"
#include "api/src/ready_state.h"
#include "snapshots/hash.h"

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
#include <unistd.h>

namespace snowglobe::detail {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;

Error damaged(const ImageFile& file, const std::string& what) {
  return {ErrorCode::kCorrupt, "guest image: '" + file.path.string() + "' " + what +
                                   "; make the image again with `./dev guest`"};
}

std::string hex_digest(EVP_MD_CTX* context) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  if (EVP_DigestFinal_ex(context, digest.data(), &length) != 1) return {};
  return snapshots::to_hex(base::ConstBytes(digest).first(length));
}

base::Result<std::string> hash_of(const ImageFile& file) {
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free);
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) {
    return Error{ErrorCode::kResourceExhausted, "OpenSSL cannot compute SHA-256"};
  }
  if (file.embedded.data() != nullptr) {
    EVP_DigestUpdate(context.get(), file.embedded.data(), file.embedded.size());
    return hex_digest(context.get());
  }
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> stream(std::fopen(file.path.c_str(), "rbe"),
                                                               std::fclose);
  if (!stream) return damaged(file, "cannot be read");
  std::vector<char> buffer(1 << 18);
  std::size_t count = 0;
  while ((count = std::fread(buffer.data(), 1, buffer.size(), stream.get())) > 0) {
    EVP_DigestUpdate(context.get(), buffer.data(), count);
  }
  if (std::ferror(stream.get()) != 0) return damaged(file, "cannot be read");
  return hex_digest(context.get());
}

base::Result<void> compare_hash(const ImageFile& file) {
  const base::Result<std::string> hash = hash_of(file);
  if (!hash) return hash.error();
  if (hash.value() != file.sha256) return damaged(file, "does not have the manifest's SHA-256");
  return {};
}

/// What is wrong with a state to start from; empty: nothing.
std::string fault_of(const GuestImage& image, StateKind kind) {
  const auto state = find_ready_file(image, kind);
  if (!state) return state.error().message;
  if (!state.value()) return std::string("there is no ") + name_of(kind) + " state that fits";
  const auto same = compare_hash(state.value()->file);
  return same ? std::string() : same.error().message;
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

/// Hashing an image takes longer than all the rest of an open: who did it leaves a note.
struct Note {
  std::vector<std::string> verified;  ///< identities of files that had their hashes
};

template <class Archive>
void describe(Archive& archive, Note& note) {
  archive.section("NOTE", 1);
  archive(note.verified);
}

fs::path note_of(const GuestImage& image) {
  const fs::path cache = user_cache();
  std::string name = "verified-";
  name.append(image.id, 0, 16);
  return cache.empty() ? fs::path() : cache / name;
}

void trust(const GuestImage& image, const Note& note) {
  for (const ImageFile* file : files_of(image)) {
    std::optional<std::string> identity = identity_of(*file);
    if (identity && std::ranges::find(note.verified, *identity) != note.verified.end()) {
      verified_files().add(std::move(*identity));
    }
  }
}

Note verified_files_of(const GuestImage& image) {
  Note note;
  for (const ImageFile* file : files_of(image)) {
    std::optional<std::string> identity = identity_of(*file);
    if (identity && verified_files().contains(*identity)) {
      note.verified.push_back(std::move(*identity));
    }
  }
  return note;
}

/// One that can not be left costs the next process time, no more.
void leave(const fs::path& file, Note& note) {
  if (file.empty() || !make_own_folder(file.parent_path())) return;
  fs::path fresh = file;
  fresh += '-';
  fresh += std::to_string(::getpid());
  std::error_code ignored;
  if (write_checked(fresh, note)) fs::rename(fresh, file, ignored);
  fs::remove(fresh, ignored);
}

}  // namespace

base::Result<void> verify_file(const ImageFile& file) {
  std::optional<std::string> identity;  // bytes in the program have none
  if (file.embedded.data() == nullptr) {
    identity = identity_of(file);
    if (!identity) return damaged(file, "is gone");
    if (verified_files().contains(*identity)) return {};
  }
  if (auto same = compare_hash(file); !same) return same;
  if (identity) verified_files().add(std::move(*identity));
  return {};
}

base::Result<void> verify_image(const GuestImage& image) {
  if (image.files.embedded != nullptr) return {};
  const fs::path note_file = note_of(image);
  Note note;
  if (auto read = read_checked<Note>(note_file)) note = std::move(read).value();
  trust(image, note);
  for (const ImageFile* file : files_of(image)) {
    if (auto good = verify_file(*file); !good) return good;
  }
  if (Note now = verified_files_of(image); now.verified != note.verified) leave(note_file, now);
  return {};
}

base::Result<std::vector<std::uint8_t>> read_image_file(const ImageFile& file) {
  if (file.embedded.data() != nullptr) {
    return std::vector<std::uint8_t>(file.embedded.begin(), file.embedded.end());
  }
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

namespace snowglobe {
inline namespace v1 {

ImageReport check_image(const std::filesystem::path& image) {
  const detail::GuestImage found =
      detail::value_or_throw(detail::find_image(detail::image_places(image)));
  ImageReport report;
  if (found.files.embedded == nullptr) report.folder = found.files.folder;
  report.id = found.id;
  report.version = found.version;
  for (const detail::ImageFile* file : detail::files_of(found)) {
    ++report.files;
    report.bytes += file->bytes;
    if (auto same = detail::compare_hash(*file); !same)
      report.faults.push_back(same.error().message);
  }
  for (const auto kind : {detail::StateKind::ready, detail::StateKind::bare}) {
    std::string fault = detail::fault_of(found, kind);
    if (!fault.empty()) report.state_faults.push_back(std::move(fault));
  }
  return report;
}

}  // namespace v1
}  // namespace snowglobe
