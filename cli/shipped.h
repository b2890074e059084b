// cli/shipped.h - what a product with Snowglobe in it ships, and how large that is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace snowglobe::cli {

struct ShippedPart {
  std::string what;
  std::filesystem::path file;
  std::uint64_t bytes = 0;
  std::uint64_t compressed = 0;
};

/// Library (or the program that it is linked into) and the files of an image folder. Compressing
/// takes a second or so.
[[nodiscard]] std::vector<ShippedPart> shipped_parts(const std::filesystem::path& image);

}  // namespace snowglobe::cli
