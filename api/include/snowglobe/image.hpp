// snowglobe/image.hpp - the guest's image: inside of the program, instead of in a folder beside it,
// and whether it is whole.
//
// Most programs need nothing of this: they link the CMake target snowglobe::image, which puts the
// files into the program and registers them before main() (docs/packaging.md). For other ways:
//
//   extern const std::byte manifest[], kernel[];               // by #embed, ld -r -b binary, ...
//   snowglobe::register_image({{{"manifest.json", {manifest, 1497}}, ...}});
#pragma once

#include <snowglobe/export.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe {
inline namespace v1 {

/// One file of an image, in the memory of the program.
struct EmbeddedFile {
  std::string_view name;  ///< as in the folder: "manifest.json", "vmlinux", ...
  std::span<const std::byte> contents;
};

/// From now on, databases are opened with this image, unless Options::image or the environment
/// names one (docs/api.md has the order). Names are copied, contents are not: they must stay as
/// they are for as long as the process runs. They are part of the program, and trusted as its code
/// is: open() checks the manifest and the sizes, and hashes only the states to start from, when it
/// unpacks one. The last call counts; an empty list takes the image back. Any thread, and before
/// main(). Throws std::bad_alloc; what is wrong with the image is open()'s ImageError.
SNOWGLOBE_API void register_image(const std::vector<EmbeddedFile>& files);

/// What check_image() has found.
struct ImageReport {
  std::filesystem::path folder = {};  ///< empty: in the program
  std::string id = {}, version = {};
  unsigned files = 0;                          ///< of the image that were read,
  std::uint64_t bytes = 0;                     ///< and their size
  std::vector<std::string> faults = {};        ///< with one, no database can be opened
  std::vector<std::string> state_faults = {};  ///< of the states to start from: starts take longer
};

/// Reads all files of the image that Options::image = `image` would find, whether they were read
/// before or not, and compares them with their hashes. Takes a tenth of a second or more. Any
/// thread. Throws ImageError: there is none, or it is none.
///
///   if (!snowglobe::check_image().faults.empty()) ...
[[nodiscard]] SNOWGLOBE_API ImageReport check_image(const std::filesystem::path& image = {});

}  // namespace v1
}  // namespace snowglobe
