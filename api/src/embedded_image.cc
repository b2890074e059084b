// api/src/embedded_image.cc - an image in the memory of the program.
#include "api/src/embedded_image.h"

#include <algorithm>
#include <mutex>

namespace snowglobe {
namespace detail {
namespace {

using base::Error;
using base::ErrorCode;
using vm::u64;

constexpr u64 kSector = 512;

/// Registered before main() by whoever is linked in, and asked by databases that may outlive it.
struct Registry {
  std::mutex mutex;
  std::shared_ptr<const EmbeddedImage> image;
};

Registry& registry() {
  static Registry& only = *new Registry;
  return only;
}

}  // namespace

std::shared_ptr<const EmbeddedImage> registered_image() {
  const std::lock_guard lock(registry().mutex);
  return registry().image;
}

EmbeddedDisk::EmbeddedDisk(base::ConstBytes contents)
    : ReadOnlyDisk(base::align_up(static_cast<u64>(contents.size()), kSector)),
      contents_(contents) {}

base::Result<void> EmbeddedDisk::fetch(u64 offset, base::Bytes out) {
  const u64 there = offset < contents_.size() ? contents_.size() - offset : 0;
  const auto count = static_cast<std::size_t>(std::min<u64>(there, out.size()));
  if (out.size() - count >= kSector) return Error{ErrorCode::kIo, "read behind the image's end"};
  if (count > 0) std::ranges::copy(contents_.subspan(offset, count), out.begin());
  std::ranges::fill(out.subspan(count), std::uint8_t{0});
  return {};
}

}  // namespace detail

inline namespace v1 {

void register_image(const std::vector<EmbeddedFile>& files) {
  auto image = std::make_shared<detail::EmbeddedImage>();
  for (const EmbeddedFile& file : files) {
    const auto* bytes =
        static_cast<const std::uint8_t*>(static_cast<const void*>(file.contents.data()));
    image->insert_or_assign(std::string(file.name), base::ConstBytes(bytes, file.contents.size()));
  }
  const std::lock_guard lock(detail::registry().mutex);
  detail::registry().image = files.empty() ? nullptr : std::move(image);
}

}  // namespace v1
}  // namespace snowglobe
