// tests/base/archive_test.cc - states come back from their bytes as they went in, and bytes that
// are none are noticed.
#include "base/archive.h"

#include <gtest/gtest.h>

namespace snowglobe::base {
namespace {

enum class Colour : std::uint8_t { kRed, kBlue };

struct Inner {
  std::int16_t small = 0;
  std::array<std::uint64_t, 3> words{};

  bool operator==(const Inner&) const = default;
};

template <class Archive>
void describe(Archive& archive, Inner& inner) {
  archive(inner.small, inner.words);
}

struct Outer {
  bool flag = false;
  Colour colour = Colour::kRed;
  std::vector<Inner> list;
  std::optional<std::uint32_t> maybe;
  std::string text;

  bool operator==(const Outer&) const = default;
};

template <class Archive>
void describe(Archive& archive, Outer& outer) {
  archive.section("OUTR", 3);
  archive(outer.flag, outer.colour, outer.list, outer.maybe, outer.text);
}

Outer example() {
  return {true, Colour::kBlue, {{-5, {1, 2, 3}}, {7, {~std::uint64_t{0}, 0, 9}}}, 77u, "snow"};
}

std::vector<std::uint8_t> written(Outer outer) {
  ArchiveWriter writer;
  writer(outer);
  return writer.take();
}

TEST(Archive, GivesBackWhatWasWritten) {
  for (const Outer& outer : {example(), Outer{}}) {
    const std::vector<std::uint8_t> bytes = written(outer);
    ArchiveReader reader(bytes);
    Outer read;
    reader(read);
    EXPECT_TRUE(reader.finished());
    EXPECT_EQ(read, outer);
  }
}

TEST(Archive, IsLittleEndianAndDense) {
  ArchiveWriter writer;
  std::uint32_t number = 0x01020304;
  bool flag = true;
  writer(number, flag);
  EXPECT_EQ(writer.take(), (std::vector<std::uint8_t>{4, 3, 2, 1, 1}));
}

TEST(Archive, EveryCutIsNoticed) {
  const std::vector<std::uint8_t> bytes = written(example());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    ArchiveReader reader(ConstBytes(bytes).first(length));
    Outer read;
    reader(read);
    EXPECT_FALSE(reader.ok()) << length;
  }
}

TEST(Archive, AnotherSectionOrVersionIsRefused) {
  for (const std::size_t at : {0u, 3u, 4u, 5u}) {
    std::vector<std::uint8_t> bytes = written(example());
    bytes[at] ^= 1;
    ArchiveReader reader(bytes);
    Outer read;
    reader(read);
    EXPECT_FALSE(reader.ok()) << at;
    EXPECT_EQ(read, Outer{});
  }
}

TEST(Archive, ABoolIsZeroOrOneAndAListNoLongerThanTheBytes) {
  const std::vector<std::uint8_t> two{2};
  ArchiveReader reader(two);
  bool flag = true;
  reader(flag);
  EXPECT_FALSE(reader.ok());
  EXPECT_FALSE(flag);
  const std::vector<std::uint8_t> huge{0xFF, 0xFF, 0xFF, 0xFF, 1, 2};
  ArchiveReader second(huge);
  std::vector<std::uint8_t> list;
  second(list);
  EXPECT_FALSE(second.ok());
  EXPECT_LE(list.size(), 2u);
}

}  // namespace
}  // namespace snowglobe::base
