// api/src/image.cc - finding the guest image and reading its manifest.
#include "api/src/image.h"

#include <algorithm>
#include <cstdlib>
#include <dlfcn.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <unistd.h>

namespace snowglobe::detail {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;
using nlohmann::json;

constexpr const char* kManifest = "manifest.json";
constexpr std::uintmax_t kMaxManifest = 1 << 20;
constexpr std::uint64_t kMaxFile = std::uint64_t{4} << 30;
constexpr const char* kRemedy = "; make the image again with `./dev guest`";

Error damaged(const fs::path& file, const std::string& what) {
  return {ErrorCode::kCorrupt, "guest image: '" + file.string() + "' " + what + kRemedy};
}

std::optional<fs::path> from_environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): read only
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

/// Where an image that was installed with the library or with the program would be, wherever the
/// prefix was moved to.
std::vector<fs::path> neighbours() {
  std::vector<fs::path> folders;
  Dl_info about{};
  if (dladdr(static_cast<const void*>(kRemedy), &about) != 0 && about.dli_fname != nullptr) {
    std::error_code failed;
    // Behind the links: another folder may have a link to the library.
    const fs::path library = fs::canonical(about.dli_fname, failed);
    if (!failed) {
      folders.push_back(library.parent_path() / "../share/snowglobe");
#ifdef SNOWGLOBE_RELATIVE_IMAGE
      folders.push_back(library.parent_path() / SNOWGLOBE_RELATIVE_IMAGE);
#endif
    }
  }
  std::error_code failed;
  const fs::path program = fs::read_symlink("/proc/self/exe", failed);
  if (!failed) folders.push_back(program.parent_path() / "../share/snowglobe");
  return folders;
}

/// Behind those that are there, unless it is one of them.
void add(std::vector<fs::path>& places, const fs::path& folder) {
  const fs::path plain = folder.lexically_normal();
  if (std::find(places.begin(), places.end(), plain) == places.end()) places.push_back(plain);
}

/// Typed access that never throws: what is missing or of another type is nothing.
std::optional<std::string> text(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

std::optional<std::uint64_t> number(const json& object, const char* key) {
  if (!object.is_object()) return std::nullopt;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<std::uint64_t>();
}

const json& member(const json& object, const char* key) {
  static const json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

class ManifestReader {
 public:
  ManifestReader(const ImageFiles& files, const ImageFile& file, const json& manifest)
      : files_(files), file_(file), manifest_(manifest) {}

  base::Result<GuestImage> read() {
    if (number(manifest_, "format") != 1) return bad("has a format that is not 1");
    if (text(manifest_, "architecture") != "i686") return bad("is not for i686");
    GuestImage image;
    image.files = files_;
    image.id = text(manifest_, "image_id").value_or("");
    image.version = text(manifest_, "version").value_or("");
    image.command_line = text(manifest_, "command_line").value_or("");
    if (image.id.empty() || image.command_line.empty() || image.command_line.size() > 1024) {
      return bad("lacks image_id or command_line");
    }
    const json& memory = member(manifest_, "memory_mib");
    image.memory_minimum = static_cast<unsigned>(number(memory, "minimum").value_or(0));
    image.memory_default = static_cast<unsigned>(number(memory, "default").value_or(0));
    image.memory_maximum = static_cast<unsigned>(number(memory, "maximum").value_or(0));
    if (image.memory_minimum == 0 || image.memory_default < image.memory_minimum ||
        image.memory_maximum < image.memory_default) {
      return bad("lacks memory_mib");
    }
    for (const auto& [part, key] :
         {std::pair{&image.kernel, "kernel"}, std::pair{&image.root, "root"},
          std::pair{&image.cluster, "cluster"}}) {
      if (auto result = read_file(key, *part); !result) return result.error();
    }
    const json& cluster = member(member(manifest_, "files"), image.cluster.path.filename().c_str());
    image.cluster_data_bytes = number(cluster, "data_bytes").value_or(0);
    if (image.cluster_data_bytes == 0 || image.cluster_data_bytes > kMaxFile) {
      return bad("lacks the cluster's data_bytes");
    }
    const json& versions = member(manifest_, "versions");
    if (versions.is_object()) {
      for (const auto& [name, value] : versions.items()) {
        if (value.is_string()) image.versions[name] = value.get<std::string>();
      }
    }
    return image;
  }

 private:
  [[nodiscard]] Error bad(const std::string& what) const { return damaged(file_.path, what); }

  base::Result<void> read_file(const char* key, ImageFile& file) {
    const std::string name = text(manifest_, key).value_or("");
    if (name.empty() || name.find('/') != std::string::npos || name[0] == '.') {
      return bad(std::string("lacks a plain file name for '") + key + "'");
    }
    const json& entry = member(member(manifest_, "files"), name.c_str());
    file.bytes = number(entry, "bytes").value_or(0);
    file.sha256 = text(entry, "sha256").value_or("");
    if (file.bytes == 0 || file.bytes > kMaxFile || file.sha256.size() != 64) {
      return bad("does not describe '" + name + "'");
    }
    const auto found = files_.find(name);
    if (!found) return damaged(files_.folder / name, "cannot be read: " + found.error().message);
    const ImageFile& actual = found.value();
    if (actual.bytes != file.bytes) {
      return damaged(actual.path, "is " + std::to_string(actual.bytes) + " bytes long instead of " +
                                      std::to_string(file.bytes));
    }
    file.path = actual.path;
    file.embedded = actual.embedded;
    return {};
  }

  const ImageFiles& files_;
  const ImageFile& file_;  // the manifest
  const json& manifest_;
};

base::Result<GuestImage> read_manifest(const ImageFiles& files) {
  const auto file = files.find(kManifest);
  if (!file) return damaged(files.folder / kManifest, "cannot be read: " + file.error().message);
  if (file.value().bytes > kMaxManifest) return damaged(file.value().path, "is too long");
  const auto contents = read_image_file(file.value());
  if (!contents) return contents.error();
  const json manifest = json::parse(contents.value(), nullptr, false);
  if (!manifest.is_object()) return damaged(file.value().path, "is not a JSON object");
  return ManifestReader(files, file.value(), manifest).read();
}

}  // namespace

base::Result<ImageFile> ImageFiles::find(const std::string& name) const {
  ImageFile file;
  if (embedded != nullptr) {
    const auto found = embedded->find(name);
    if (found == embedded->end()) return Error{ErrorCode::kNotFound, "it is not in the program"};
    file.path = name;
    file.bytes = found->second.size();
    file.embedded = found->second;
    return file;
  }
  std::error_code failed;
  file.path = folder / name;
  file.bytes = fs::file_size(file.path, failed);
  if (failed == std::errc::no_such_file_or_directory) {
    return Error{ErrorCode::kNotFound, failed.message()};
  }
  if (failed) return Error{ErrorCode::kIo, failed.message()};
  return file;
}

std::string ImageFiles::place() const {
  if (embedded != nullptr) return "the program";
  std::string text = "'";
  return text.append(folder.string()).append("'");
}

ImagePlaces image_places(const fs::path& option) {
  ImagePlaces places;
  if (!option.empty()) {
    places.binding.push_back(option);
    return places;
  }
  if (const auto folder = from_environment("SNOWGLOBE_IMAGE")) {
    places.binding.push_back(*folder);
    return places;
  }
  if (const auto list = from_environment("SNOWGLOBE_IMAGE_PATH")) {
    std::stringstream folders(list->string());
    for (std::string folder; std::getline(folders, folder, ':');) {
      if (!folder.empty()) add(places.listed, folder);
    }
  }
  places.registered = registered_image();
  for (const fs::path& folder : neighbours())
    add(places.others, folder);
#ifdef SNOWGLOBE_BUILD_TREE_IMAGE
  add(places.others, SNOWGLOBE_BUILD_TREE_IMAGE);
#endif
#ifdef SNOWGLOBE_INSTALLED_IMAGE
  add(places.others, SNOWGLOBE_INSTALLED_IMAGE);
#endif
  if (const fs::path cache = user_cache(); !cache.empty()) {
    add(places.others, cache / "image");
  }
  return places;
}

fs::path user_cache() {
  if (const auto cache = from_environment("XDG_CACHE_HOME")) return *cache / "snowglobe";
  const auto home = from_environment("HOME");
  return home ? *home / ".cache/snowglobe" : fs::path();
}

base::Result<GuestImage> find_image(const ImagePlaces& places) {
  std::string tried;
  const auto look_in = [&tried](const std::vector<fs::path>& folders) -> std::optional<ImageFiles> {
    for (fs::path folder : folders) {
      if (folder.filename() == kManifest) folder = folder.parent_path();
      std::error_code ignored;
      // A damaged image is not passed over: the next place might have another version.
      if (fs::exists(folder / kManifest, ignored)) return ImageFiles{folder, nullptr};
      tried += "\n  " + (folder / kManifest).string();
    }
    return std::nullopt;
  };
  std::optional<ImageFiles> found = look_in(places.binding);
  if (!found) found = look_in(places.listed);
  if (!found && places.registered != nullptr) found = ImageFiles{{}, places.registered};
  if (!found) found = look_in(places.others);
  if (found) return read_manifest(*found);
  return Error{ErrorCode::kCorrupt,
               "no guest image was found; make it with `./dev guest`, or name its folder in "
               "Options::image or SNOWGLOBE_IMAGE. Tried:" +
                   tried};
}

}  // namespace snowglobe::detail
