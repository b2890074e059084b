// api/src/image.h - the guest image: where it is looked for, what its manifest says, and whether
// its files are what the manifest says. The format is docs/guest.md's.
#pragma once

#include "api/src/embedded_image.h"
#include "base/error.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace snowglobe::detail {

struct ImageFile {
  std::filesystem::path path;  ///< of a file in the program: its name
  std::uint64_t bytes = 0;
  std::string sha256;              ///< 64 hexadecimal digits
  base::ConstBytes embedded = {};  ///< its contents, if it is in the program
};

/// Where the files of an image are: in a folder, or in the program.
struct ImageFiles {
  std::filesystem::path folder;
  std::shared_ptr<const EmbeddedImage> embedded;

  /// As long as it is, without a hash. Errors: kNotFound, kIo.
  [[nodiscard]] base::Result<ImageFile> find(const std::string& name) const;
  /// For messages: the folder in quotes, or "the program".
  [[nodiscard]] std::string place() const;
};

struct GuestImage {
  ImageFiles files;
  std::string id;
  std::string version;
  std::string command_line;
  unsigned memory_minimum = 0;  ///< MiB
  unsigned memory_default = 0;
  unsigned memory_maximum = 0;
  ImageFile kernel, root, cluster;
  std::uint64_t cluster_data_bytes = 0;  ///< unpacked
  std::map<std::string, std::string> versions;
};

/// Where to look, in order; `binding` places are given by the user: there is no going on to the
/// next.
struct ImagePlaces {
  std::vector<std::filesystem::path> binding;
  std::vector<std::filesystem::path> listed;
  std::shared_ptr<const EmbeddedImage> registered = {};
  std::vector<std::filesystem::path> others = {};
};

/// $XDG_CACHE_HOME/snowglobe or ~/.cache/snowglobe; empty if neither variable is set.
std::filesystem::path user_cache();

/// Options::image, then SNOWGLOBE_IMAGE; SNOWGLOBE_IMAGE_PATH, what the program registered,
/// ../share/snowglobe beside the library and the program, the build tree's and the install prefix's
/// folder, the user's cache.
ImagePlaces image_places(const std::filesystem::path& option);

/// Reads the manifest of the first place that has one, and checks it and the sizes of the files.
/// Errors: kCorrupt, whose message names the file, the places that were tried, and what to do.
base::Result<GuestImage> find_image(const ImagePlaces& places);

/// Compares each file with its SHA-256; once for a file that did not change (by inode, size and
/// times): what was found is noted in the user's cache for other processes. What is in the program
/// is trusted as its code is.
base::Result<void> verify_image(const GuestImage& image);

/// The same for one file, without a note.
base::Result<void> verify_file(const ImageFile& file);

/// The contents of a file of the image. Errors: kCorrupt if it is not as long as the manifest says.
base::Result<std::vector<std::uint8_t>> read_image_file(const ImageFile& file);

}  // namespace snowglobe::detail
