// snowglobe/image.hpp - the guest's image inside of the program, instead of in a folder beside it.
//
// Most programs need nothing of this: they link the CMake target snowglobe::image, which puts the
// files into the program and registers them before main() (docs/packaging.md). For other ways:
//
//   extern const std::byte manifest[], kernel[];               // by #embed, ld -r -b binary, ...
//   snowglobe::register_image({{{"manifest.json", {manifest, 1497}}, ...}});
#pragma once

#include <snowglobe/export.hpp>

#include <cstddef>
#include <span>
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

}  // namespace v1
}  // namespace snowglobe
