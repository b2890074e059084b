// tests/guest/persist_fixture.cc - a folder of its own for each test, and what tests do to files.
#include "tests/guest/persist_fixture.h"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fcntl.h>
#include <fstream>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>
#include <xxhash.h>

namespace snowglobe::testing {

namespace fs = std::filesystem;

void PersistTest::SetUp() {
  std::string name = (fs::temp_directory_path() / "snowglobe-persist-XXXXXX").string();
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  folder_ = name;
}

void PersistTest::TearDown() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

namespace {

/// Calls `visit` with what is in a file besides holes.
void for_each_piece(const fs::path& file,
                    const std::function<void(std::uint64_t, std::string_view)>& visit) {
  const int opened = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(opened, 0) << file;
  std::vector<char> buffer(1 << 20);
  off_t at = 0;
  for (;;) {
    at = ::lseek(opened, at, SEEK_DATA);
    if (at < 0) break;
    const ssize_t got = ::pread(opened, buffer.data(), buffer.size(), at);
    if (got <= 0) break;
    visit(static_cast<std::uint64_t>(at), {buffer.data(), static_cast<std::size_t>(got)});
    at += got;
  }
  ::close(opened);
}

}  // namespace

std::map<std::string, std::uint64_t> tree_of(const fs::path& folder) {
  std::map<std::string, std::uint64_t> tree;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::uint64_t sum = XXH3_64bits(nullptr, 0) + entry.file_size();
    for_each_piece(entry.path(), [&sum](std::uint64_t at, std::string_view bytes) {
      sum = sum * 31 + at;
      sum = XXH3_64bits_withSeed(bytes.data(), bytes.size(), sum);
    });
    tree[fs::relative(entry.path(), folder).string()] = sum;
  }
  return tree;
}

std::string read(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write(const fs::path& file, std::string_view text) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << text;
}

void flip_byte(const fs::path& file, std::uint64_t at) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(at));
  const char byte = static_cast<char>(stream.get() ^ 0x40);
  stream.seekp(static_cast<std::streamoff>(at));
  stream.put(byte);
}

void copy_over(const fs::path& from, const fs::path& to) {
  const int out = ::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ASSERT_GE(out, 0) << to;
  ASSERT_EQ(::ftruncate(out, static_cast<off_t>(fs::file_size(from))), 0);
  for_each_piece(from, [out](std::uint64_t at, std::string_view bytes) {
    ASSERT_EQ(::pwrite(out, bytes.data(), bytes.size(), static_cast<off_t>(at)),
              static_cast<ssize_t>(bytes.size()));
  });
  ::close(out);
}

int in_child(const std::function<int()>& work) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 99;
    try {
      code = work();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "in the child: %s\n", error.what());
    }
    std::fflush(nullptr);
    ::_exit(code);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace snowglobe::testing
