// tests/guest/persist_fixture.h - a folder of its own for each test, and what tests do to files.
#pragma once

#include <snowglobe/snowglobe.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <string_view>

namespace snowglobe::testing {

class PersistTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  /// Of the test's database; nothing is there yet.
  [[nodiscard]] std::filesystem::path path() const { return folder_ / "shop.globe"; }

 private:
  std::filesystem::path folder_;
};

/// Each file below `folder` by its name, with a checksum of its contents.
std::map<std::string, std::uint64_t> tree_of(const std::filesystem::path& folder);

std::string read(const std::filesystem::path& file);
void write(const std::filesystem::path& file, std::string_view text);
void flip_byte(const std::filesystem::path& file, std::uint64_t at);
/// With the holes of `from`.
void copy_over(const std::filesystem::path& from, const std::filesystem::path& to);

/// Runs `work` in a forked child. Returns what it returns, 128 + N if signal N ended it, and 99
/// after an exception.
int in_child(const std::function<int()>& work);

}  // namespace snowglobe::testing
