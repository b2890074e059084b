// vm/cpu/translator/code_memory.cc - the memory file behind translated code and its two mappings.
#include "vm/cpu/translator/code_memory.h"

#include "base/check.h"

#include <cerrno>
#include <string>
#include <sys/mman.h>
#include <system_error>
#include <unistd.h>

namespace snowglobe::vm {

using base::Error;
using base::ErrorCode;

namespace {

/// memfd_create(2), Linux 6.3: without it, vm.memfd_noexec may deny execution or write a warning to
/// the kernel's log. Older kernels know neither the flag nor the restriction.
constexpr unsigned kMemfdExec = 0x10;

int create_file() {
  const int descriptor = ::memfd_create("snowglobe-code", MFD_CLOEXEC | kMemfdExec);
  if (descriptor >= 0 || errno != EINVAL) return descriptor;
  return ::memfd_create("snowglobe-code", MFD_CLOEXEC);
}

/// A policy of the host that does not let us (SELinux, vm.memfd_noexec, seccomp) is told from want.
Error error_of(const char* what, int reason) {
  const bool forbidden = reason == EACCES || reason == EPERM || reason == ENOSYS;
  return Error{forbidden ? ErrorCode::kUnavailable : ErrorCode::kResourceExhausted,
               std::string(what) + ": " + std::system_category().message(reason)};
}

/// Null on failure, with errno. Neither a core dump nor a forked child has any use for it; a
/// child's copy would be the same memory, not a copy.
u8* map(int descriptor, std::size_t size, int protection) {
  void* mapping = ::mmap(nullptr, size, protection, MAP_SHARED, descriptor, 0);
  if (mapping == MAP_FAILED) return nullptr;
  ::madvise(mapping, size, MADV_DONTDUMP);
  ::madvise(mapping, size, MADV_DONTFORK);
  return static_cast<u8*>(mapping);
}

}  // namespace

base::Result<std::unique_ptr<CodeMemory>> CodeMemory::create(std::size_t size) {
  SG_ASSERT(size != 0 && size % kPageSize == 0, "code memory comes in pages");
  const int descriptor = create_file();
  if (descriptor < 0) return error_of("create a memory file for translated code", errno);
  u8* writable = nullptr;
  u8* executable = nullptr;
  if (::ftruncate(descriptor, static_cast<off_t>(size)) == 0) {
    writable = map(descriptor, size, PROT_READ | PROT_WRITE);
    if (writable != nullptr) executable = map(descriptor, size, PROT_READ | PROT_EXEC);
  }
  const int reason = errno;
  ::close(descriptor);  // the mappings hold the file
  if (executable != nullptr)
    return std::unique_ptr<CodeMemory>(new CodeMemory(writable, executable, size));
  if (writable != nullptr) ::munmap(writable, size);
  return error_of(writable == nullptr ? "map memory for translated code"
                                      : "map memory for translated code as executable",
                  reason);
}

CodeMemory::CodeMemory(u8* writable, const u8* executable, std::size_t size)
    : writable_(writable), executable_(executable), size_(size) {}

CodeMemory::~CodeMemory() {
  ::munmap(const_cast<u8*>(executable_), size_);
  ::munmap(writable_, size_);
}

}  // namespace snowglobe::vm
