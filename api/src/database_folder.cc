// api/src/database_folder.cc - the folder that a persistent database is kept in.
#include "api/src/database_folder.h"

#include "api/src/errors.h"
#include "snapshots/store.h"

#include <algorithm>
#include <array>
#include <exception>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <vector>

namespace snowglobe::detail {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kReadme =
    "This folder is a PostgreSQL database of the Snowglobe library (docs/persistence.md). Open it "
    "with snowglobe::Database::open() or `snowglobe shell`; copy or move it as a whole, while it "
    "is closed; edit nothing in it.\n";
constexpr std::uint64_t kMaxDescriptionBytes = 65536;

// What an interrupted creation may have left: nothing that holds data.
constexpr std::array<std::string_view, 9> kUnfinished = {
    "README",    "README.new",    "lock",    "disk.new",   "database.json.new",
    "snapshots", "snapshots.new", "machine", "machine.new"};

std::string quoted(const fs::path& path) {
  return "'" + path.string() + "'";
}

std::string major_of(const std::string& version) {
  return version.substr(0, version.find('.'));
}

bool is_id(const std::string& text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// Nothing if there is no such file. Throws DatabaseDamaged, DatabaseIncompatible, Error.
std::optional<Description> read_description_file(base::FileSystem& files, const fs::path& file) {
  const auto bytes = files.read_file(file, kMaxDescriptionBytes);
  if (!bytes) {
    if (bytes.error().code == base::ErrorCode::kNotFound) return std::nullopt;
    if (bytes.error().code == base::ErrorCode::kCorrupt)
      throw DatabaseDamaged(bytes.error().message);
    throw_error(bytes.error());
  }
  const auto json = nlohmann::json::parse(bytes.value(), nullptr, false);
  if (json.is_discarded()) {
    throw DatabaseDamaged(quoted(file) + " is no JSON; put it back from a copy of the folder");
  }
  Description found;
  try {
    found.format = json.at("format");
    if (found.format > Description::kFormat) {
      throw DatabaseIncompatible(
          quoted(file.parent_path()) + " has format " + std::to_string(found.format) +
          ", and this library reads " + std::to_string(Description::kFormat) +
          ": open it with the newer version that made it, or have that dump() it");
    }
    found.id = json.at("id");
    found.image_id = json.at("image");
    found.postgres_version = json.at("postgresql");
    found.disk_bytes = json.at("disk_bytes");
    found.created = json.at("created");
    found.relaxed_ms = json.value("relaxed_ms", 0u);
    found.origin = json.value("origin", std::string());
  } catch (const nlohmann::json::exception& wrong) {
    throw DatabaseDamaged(quoted(file) + " is not what it should be (" + wrong.what() +
                          "); put it back from a copy of the folder");
  }
  if (!is_id(found.id) || found.format == 0) {
    throw DatabaseDamaged(quoted(file) + " has no id or format that could be");
  }
  return found;
}

std::string json_of(const Description& description) {
  const nlohmann::json json = {
      {"format", description.format},         {"id", description.id},
      {"image", description.image_id},        {"postgresql", description.postgres_version},
      {"disk_bytes", description.disk_bytes}, {"created", description.created},
      {"relaxed_ms", description.relaxed_ms}, {"origin", description.origin}};
  return json.dump(2) + "\n";
}

}  // namespace

fs::path DatabaseFolder::whole_path(const fs::path& path) {
  if (path.empty()) throw InvalidArgument("the path of a database is empty");
  std::error_code error;
  fs::path whole = fs::absolute(path, error);
  if (!error) whole = fs::weakly_canonical(whole, error);
  if (error) throw_error(base::os_error("look at", path, error.value()));
  if (!whole.has_filename()) whole = whole.parent_path();  // "shop.globe/"
  return whole;
}

Description DatabaseFolder::look_at(const fs::path& whole) {
  base::FileSystem& files = base::FileSystem::host();
  if (look(files, whole) != Found::database) {
    throw DatabaseNotFound("there is no database in " + quoted(whole));
  }
  auto found = read_description_file(files, whole / "database.json");
  if (!found) found = read_description_file(files, whole / "database.json.new");
  if (!found) throw DatabaseDamaged(quoted(whole) + " is being made, or its description is gone");
  return *found;
}

DatabaseFolder::DatabaseFolder(const fs::path& path, const Options& options,
                               base::FileSystem& files)
    : files_(files), path_(whole_path(path)) {
  const Found before = look(files_, path_);
  require_created_as_wanted(before, options);
  if (before == Found::nothing && !files_.exists(path_)) {
    const auto made = files_.make_directory(path_);
    made_ = made.ok();
    if (!made && made.error().code != base::ErrorCode::kAlreadyExists) throw_error(made.error());
  }
  try {
    lock_ = std::make_unique<FolderLock>(
        files_, path_, options.read_only ? FolderLock::Kind::shared : FolderLock::Kind::exclusive);
  } catch (...) {
    std::error_code ignored;
    if (made_) fs::remove(path_, ignored);  // if it is empty
    throw;
  }
  // Another process may have made it, or be gone, since.
  const Found found = look(files_, path_);
  require_created_as_wanted(found, options);
  if (found == Found::database) read_description(options);
}

DatabaseFolder::~DatabaseFolder() {
  if (!made_ || description_) return;
  // A creation that failed leaves nothing behind, if there is memory to say so.
  try {
    if (!undo_finish()) return;
    snowglobe::snapshots::Store::remove_copy(new_snapshots(), files_);
    std::error_code ignored;
    for (const std::string_view name : kUnfinished)
      fs::remove(path_ / name, ignored);
    fs::remove(path_, ignored);
  } catch (const std::exception&) {
    return;  // the next creation takes what is left away
  }
}

/// Back to where the disk had no name, by way of nothing but what look() knows. False: it is a
/// database, and stays one.
bool DatabaseFolder::undo_finish() const {
  std::error_code error;
  const auto rename = [&](const char* from, const char* to) {
    if (!fs::exists(path_ / from, error)) return !error;
    fs::rename(path_ / from, path_ / to, error);
    return !error;
  };
  return rename("database.json", "database.json.new") && rename("disk", "disk.new");
}

DatabaseFolder::Found DatabaseFolder::look(base::FileSystem& files, const fs::path& folder) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (status.type() == fs::file_type::not_found) {
    if (!fs::is_directory(folder.parent_path(), error)) {
      throw DatabaseNotFound("there is no folder " + quoted(folder.parent_path()) +
                             " for a database in it");
    }
    return Found::nothing;
  }
  if (status.type() == fs::file_type::none) {
    throw_error(base::os_error("look at", folder, error.value()));
  }
  if (status.type() != fs::file_type::directory) {
    throw NotADatabase(quoted(folder) + " is not a folder, so it is no database of Snowglobe's");
  }
  const std::vector<std::string> names = value_or_throw(files.list(folder));
  std::string foreign;
  for (const std::string& name : names) {
    if (std::ranges::find(kUnfinished, name) == kUnfinished.end()) foreign = name;
  }
  const auto has = [&names](std::string_view name) {
    return std::ranges::find(names, name) != names.end();
  };
  if (has("database.json")) return Found::database;
  if (has("disk")) {
    // finish() was interrupted between its two renames.
    if (has("database.json.new")) return Found::database;
    throw DatabaseDamaged(quoted(folder / "database.json") +
                          " is missing; put it back from a copy of the folder");
  }
  if (!foreign.empty()) {
    throw NotADatabase(quoted(folder) + " has '" + foreign +
                       "' and no database.json in it: it is not a database of Snowglobe's. Choose "
                       "a folder that is empty or not there");
  }
  return names.empty() ? Found::nothing : Found::unfinished;
}

void DatabaseFolder::require_created_as_wanted(Found found, const Options& options) const {
  if (found == Found::database) {
    if (options.create != Create::always) return;
    throw DatabaseExists("there is a database in " + quoted(path_) +
                         " already, and Options::create wants a new one");
  }
  if (options.read_only || options.create == Create::never) {
    throw DatabaseNotFound("there is no database in " + quoted(path_) +
                           (options.read_only ? ", and Options::read_only makes none"
                                              : ", and Options::create makes none"));
  }
}

void DatabaseFolder::read_description(const Options& options) {
  const fs::path file = path_ / "database.json";
  description_ = read_description_file(files_, file);
  if (description_) return;
  const fs::path fresh = path_ / "database.json.new";
  description_ = read_description_file(files_, fresh);
  if (!description_) throw DatabaseDamaged(quoted(file) + " went away while it was read");
  if (!options.read_only) complete();
}

void DatabaseFolder::complete() {
  if (files_.exists(new_snapshots())) {
    value_or_throw(files_.rename_and_sync(new_snapshots(), snapshots()));
  }
  value_or_throw(files_.rename_and_sync(path_ / "database.json.new", path_ / "database.json"));
}

void DatabaseFolder::require_fitting(const GuestImage& image) const {
  const auto found = image.versions.find("postgresql");
  const std::string here = found == image.versions.end() ? std::string() : found->second;
  if (!description_ || major_of(here) == major_of(description_->postgres_version)) return;
  throw DatabaseIncompatible(quoted(path_) + " was made by PostgreSQL " +
                             description_->postgres_version + ", and the guest image in " +
                             image.files.place() + " has " + here +
                             ", which cannot read its files: open it with an image of PostgreSQL " +
                             major_of(description_->postgres_version) +
                             " (Options::image), dump() it, and load() that into a new database");
}

void DatabaseFolder::start() {
  for (const std::string_view name : {"disk.new", "database.json.new", "machine", "machine.new"})
    value_or_throw(files_.remove_if_there(path_ / name));
  snowglobe::snapshots::Store::remove_copy(new_snapshots(), files_);
  value_or_throw(files_.replace_file(path_ / "README", base::bytes_of(kReadme)));
}

void DatabaseFolder::finish(const Description& description) {
  const fs::path fresh = path_ / "database.json.new";
  // Complete before the disk has its name: see look().
  const std::string json = json_of(description);
  value_or_throw(value_or_throw(files_.write_file(fresh, base::bytes_of(json)))->sync());
  value_or_throw(files_.rename_and_sync(new_disk(), disk()));
  complete();
  if (made_) value_or_throw(files_.sync_directory(path_.parent_path()));
  description_ = description;
}

void DatabaseFolder::describe(const Description& description) {
  const std::string json = json_of(description);
  value_or_throw(files_.replace_file(path_ / "database.json", base::bytes_of(json)));
  description_ = description;
}

}  // namespace snowglobe::detail
