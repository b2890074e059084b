// cli/shipped.cc - what a product with Snowglobe in it ships, and how large that is.
#include "cli/shipped.h"

#include <snowglobe/version.hpp>

#include <dlfcn.h>
#include <fstream>
#include <memory>
#include <sys/stat.h>
#include <vector>
#include <zstd.h>

namespace snowglobe::cli {
namespace fs = std::filesystem;
namespace {

// What packages are made with is tighter (xz, zstd 19) and takes ten times as long.
constexpr int kLevel = 9;

std::uint64_t compressed_size(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(),
                                                                     &ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kLevel);
  std::vector<char> in(1 << 20), out(ZSTD_CStreamOutSize());
  std::uint64_t total = 0;
  for (bool last = false; !last;) {
    file.read(in.data(), static_cast<std::streamsize>(in.size()));
    last = file.gcount() < static_cast<std::streamsize>(in.size());
    ZSTD_inBuffer input{in.data(), static_cast<std::size_t>(file.gcount()), 0};
    for (std::size_t left = 1; last ? left != 0 : input.pos < input.size;) {
      ZSTD_outBuffer output{out.data(), out.size(), 0};
      left =
          ZSTD_compressStream2(context.get(), &output, &input, last ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(left) != 0) return fs::file_size(path);
      total += output.pos;
    }
  }
  return total;
}

void add(std::vector<ShippedPart>& parts, const char* what, const fs::path& file) {
  std::error_code failure;
  const auto bytes = fs::file_size(file, failure);
  if (failure) return;
  // What is packed already does not shrink by more than a hundredth.
  const bool packed = file.extension() == ".snap" || file.extension() == ".zst";
  parts.push_back(
      {what, file, bytes, packed ? bytes : std::min<std::uint64_t>(bytes, compressed_size(file))});
}

/// The file that has the library's code: the shared library, or this program.
fs::path library_file() {
  Dl_info info{};
  std::error_code failure;
  fs::path self = fs::read_symlink("/proc/self/exe", failure);
  if (dladdr(reinterpret_cast<const void*>(&library_version), &info) == 0) return self;
  const fs::path file = fs::canonical(info.dli_fname, failure);
  return failure ? self : file;
}

}  // namespace

std::vector<ShippedPart> shipped_parts(const fs::path& image) {
  std::vector<ShippedPart> parts;
  add(parts, "library", library_file());
  add(parts, "kernel", image / "vmlinux");
  add(parts, "root", image / "root.erofs");
  add(parts, "cluster", image / "cluster.disk.zst");
  add(parts, "manifest", image / "manifest.json");
  add(parts, "ready state", image / "ready.snap");
  add(parts, "bare state", image / "bare.snap");
  return parts;
}

}  // namespace snowglobe::cli
