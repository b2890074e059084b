// vm/memory/ram.cc - the memory file behind guest RAM, and the bookkeeping of rights to write.
#include "vm/memory/ram.h"

#include <cerrno>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <system_error>
#include <unistd.h>

namespace snowglobe::vm {

using base::Error;
using base::ErrorCode;

namespace {

std::string reason_text(int error) {
  return std::system_category().message(error);
}

}  // namespace

base::Result<std::unique_ptr<GuestRam>> GuestRam::create(u64 size) {
  constexpr u64 kUnit = 4u << 20;
  if (size == 0 || size % kUnit != 0 || size > (u64{3} << 30)) {
    return Error{ErrorCode::kInvalidArgument,
                 "guest memory must be a multiple of 4 MiB and at most 3 GiB"};
  }
  const int descriptor = ::memfd_create("snowglobe-ram", MFD_CLOEXEC);
  if (descriptor < 0) {
    return Error{ErrorCode::kIo, std::string("create guest memory: ") + reason_text(errno)};
  }
  if (::ftruncate(descriptor, static_cast<off_t>(size)) != 0) {
    const int reason = errno;
    ::close(descriptor);
    return Error{ErrorCode::kResourceExhausted, "reserve " + std::to_string(size >> 20) +
                                                    " MiB of guest memory: " + reason_text(reason)};
  }
  void* mapping =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
  if (mapping == MAP_FAILED) {
    const int reason = errno;
    ::close(descriptor);
    return Error{ErrorCode::kResourceExhausted, "map " + std::to_string(size >> 20) +
                                                    " MiB of guest memory: " + reason_text(reason)};
  }
  ::madvise(mapping, size, MADV_DONTDUMP);  // a core dump of the application is not for the guest
  return std::unique_ptr<GuestRam>(new GuestRam(descriptor, static_cast<u8*>(mapping), size));
}

GuestRam::GuestRam(int descriptor, u8* base, u64 size)
    : descriptor_(descriptor), base_(base), size_(size), flags_(size >> kPageShift, 0) {}

GuestRam::~GuestRam() {
  ::munmap(base_, size_);
  ::close(descriptor_);
}

base::ConstBytes GuestRam::read(PhysicalAddress address, u32 length) const {
  if (!contains(address, length)) return {};
  return {base_ + address, length};
}

base::Bytes GuestRam::write(PhysicalAddress address, u32 length) {
  if (!contains(address, length)) return {};
  if (length != 0) {
    const u32 last = (address + length - 1) >> kPageShift;
    for (u32 page = address >> kPageShift; page <= last; ++page)
      acquire_write(page);
  }
  return {base_ + address, length};
}

void GuestRam::acquire_write(u32 page) {
  u8& flags = flags_[page];
  if ((flags & kWritable) != 0) return;
  const bool had_code = (flags & kCode) != 0;
  flags = kWritable | kDirty;
  if (had_code && observer_ != nullptr) observer_->on_code_written(page);
}

void GuestRam::watch_code(u32 page) {
  u8& flags = flags_[page];
  const bool was_writable = (flags & kWritable) != 0;
  flags = static_cast<u8>((flags & kDirty) | kCode);
  if (was_writable && observer_ != nullptr) observer_->on_write_right_lost(page);
}

std::vector<u32> GuestRam::dirty_pages() const {
  std::vector<u32> pages;
  for (u32 page = 0; page < page_count(); ++page) {
    if ((flags_[page] & kDirty) != 0) pages.push_back(page);
  }
  return pages;
}

void GuestRam::clear_dirty() {
  for (u32 page = 0; page < page_count(); ++page) {
    const bool was_writable = (flags_[page] & kWritable) != 0;
    flags_[page] &= kCode;
    if (was_writable && observer_ != nullptr) observer_->on_write_right_lost(page);
  }
}

}  // namespace snowglobe::vm
