// snapshots/catalogue_image.cc - a catalogue and its write-ahead log become one image.
#include "snapshots/catalogue_image.h"

#include "snapshots/sqlite.h"

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

namespace snowglobe::snapshots {

namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t kMaxCatalogueBytes = std::uint64_t{1} << 30;
constexpr const char* kCopy = "catalogue.sqlite";
constexpr const char* kLogOfCopy = "catalogue.sqlite-wal";

/// 0700, and gone with all that is in it.
class TemporaryFolder {
 public:
  static base::Result<TemporaryFolder> make() {
    std::error_code error;
    const fs::path parent = fs::temp_directory_path(error);
    if (error) return base::os_error("find the folder for temporary files", "TMPDIR", ENOENT);
    std::string name = (parent / "snowglobe-catalogue-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) return base::os_error("make", name, errno);
    return TemporaryFolder(name);
  }
  TemporaryFolder(TemporaryFolder&& other) noexcept { path_.swap(other.path_); }
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  explicit TemporaryFolder(fs::path path) : path_(std::move(path)) {}

  fs::path path_;
};

/// The catalogue with its log worked in.
base::Result<Bytes> with_log(base::ConstBytes catalogue, base::ConstBytes log) {
  auto folder = TemporaryFolder::make();
  if (!folder.ok()) return folder.error();
  base::FileSystem& host = base::FileSystem::host();
  const fs::path copy = folder.value().path() / kCopy;
  if (auto put = host.write_file(copy, catalogue); !put.ok()) return put.error();
  if (auto put = host.write_file(folder.value().path() / kLogOfCopy, log); !put.ok())
    return put.error();
  {
    auto database = Database::open(copy, nullptr, std::chrono::milliseconds(0));
    if (!database.ok()) return database.error();
    auto worked_in = database.value().run("PRAGMA journal_mode=DELETE");
    if (!worked_in.ok()) return worked_in.error();
  }
  return host.read_file(copy, kMaxCatalogueBytes);
}

}  // namespace

base::Result<Bytes> read_catalogue_image(base::FileSystem& files, const fs::path& file) {
  auto catalogue = files.read_file(file, kMaxCatalogueBytes);
  if (!catalogue.ok()) return catalogue;
  fs::path log_file = file;
  log_file += "-wal";
  auto log = files.read_file(log_file, kMaxCatalogueBytes);
  if (!log.ok() && log.error().code != base::ErrorCode::kNotFound) return log;
  if (!log.ok() || log.value().empty()) return catalogue;
  return with_log(catalogue.value(), log.value());
}

}  // namespace snowglobe::snapshots
