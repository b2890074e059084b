// tests/api/image_test.cc - every way in which an image can be missing, short or wrong is said,
// with file and remedy.
#include "api/src/image.h"

#include "api/src/disks.h"
#include "api/src/embedded_image.h"
#include "api/src/snapshot_data.h"
#include "tests/support/temporary_folder.h"
#include <snowglobe/snowglobe.hpp>

#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <openssl/sha.h>

namespace snowglobe::detail {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string sha256(const std::string& data) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(static_cast<const unsigned char*>(static_cast<const void*>(data.data())), data.size(),
         digest);
  std::string text;
  for (const unsigned char byte : digest) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", byte);
    text += hex;
  }
  return text;
}

void write(const fs::path& file, const std::string& contents) {
  std::ofstream(file, std::ios::binary) << contents;
}

/// A folder with three small files and a manifest that describes them.
class ImageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"vmlinux", "root.erofs", "cluster.disk.zst"}) {
      const std::string contents = std::string("contents of ") + name;
      write(folder_ / name, contents);
      manifest_["files"][name] = {{"bytes", contents.size()}, {"sha256", sha256(contents)}};
    }
    manifest_["files"]["cluster.disk.zst"]["data_bytes"] = 4096;
    manifest_["format"] = 1;
    manifest_["architecture"] = "i686";
    manifest_["image_id"] = "0123";
    manifest_["version"] = "0.1";
    manifest_["kernel"] = "vmlinux";
    manifest_["root"] = "root.erofs";
    manifest_["cluster"] = "cluster.disk.zst";
    manifest_["command_line"] = "quiet";
    manifest_["memory_mib"] = {{"minimum", 48}, {"default", 256}, {"maximum", 1024}};
    manifest_["versions"] = {{"postgresql", "17.6"}};
    save();
  }
  void save() { write(folder_ / "manifest.json", manifest_.dump()); }
  base::Result<GuestImage> find() { return find_image({{folder_}, {}}); }
  std::string complaint() {
    const auto found = find();
    if (!found) return found.error().message;
    const auto verified = verify_image(found.value());
    return verified ? "" : verified.error().message;
  }

  const snowglobe::test::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
  json manifest_;
};

TEST_F(ImageTest, AGoodOneIsRead) {
  const auto image = find();
  ASSERT_TRUE(image.ok()) << image.error().message;
  EXPECT_EQ(image.value().id, "0123");
  EXPECT_EQ(image.value().memory_minimum, 48U);
  EXPECT_EQ(image.value().memory_default, 256U);
  EXPECT_EQ(image.value().versions.at("postgresql"), "17.6");
  EXPECT_EQ(complaint(), "");
  EXPECT_TRUE(read_image_file(image.value().kernel).ok());
}

TEST_F(ImageTest, AMissingOneListsEveryPlaceAndTheCommand) {
  const auto found = find_image({{}, {folder_ / "a", folder_ / "b"}});
  ASSERT_FALSE(found.ok());
  for (const std::string& word :
       {(folder_ / "a/manifest.json").string(), (folder_ / "b/manifest.json").string(),
        std::string("./dev guest"), std::string("SNOWGLOBE_IMAGE")}) {
    EXPECT_NE(found.error().message.find(word), std::string::npos) << word;
  }
}

TEST_F(ImageTest, AFileThatIsCutShortIsNamedWithTheCommand) {
  fs::resize_file(folder_ / "root.erofs", 5);
  EXPECT_NE(complaint().find("root.erofs' is 5 bytes long"), std::string::npos) << complaint();
  EXPECT_NE(complaint().find("./dev guest"), std::string::npos);
  fs::remove(folder_ / "root.erofs");
  EXPECT_NE(complaint().find("cannot be read"), std::string::npos) << complaint();
}

TEST_F(ImageTest, AFileOfOtherBytesHasAnotherHash) {
  write(folder_ / "vmlinux", "contents OF vmlinux");
  EXPECT_NE(complaint().find("SHA-256"), std::string::npos) << complaint();
}

TEST_F(ImageTest, AChangeAfterTheFirstCheckIsNoticed) {
  EXPECT_EQ(complaint(), "");
  write(folder_ / "vmlinux", "contents Of vmlinux");
  EXPECT_NE(complaint().find("SHA-256"), std::string::npos);
}

TEST_F(ImageTest, AllOfItCanBeLookedAtAgain) {
  const std::string state = "a state";
  json about = {{"image_id", "0123"},
                {"format", kPictureFormat},
                {"bytes", state.size()},
                {"sha256", sha256(state)}};
  write(folder_ / "ready.snap", state);
  write(folder_ / "ready.json", about.dump());
  about["format"] = kPictureFormat + 1;
  write(folder_ / "bare.snap", state);
  write(folder_ / "bare.json", about.dump());
  EXPECT_EQ(complaint(), "");
  ImageReport report = check_image(folder_);
  EXPECT_EQ(report.folder, folder_);
  EXPECT_EQ(report.id, "0123");
  EXPECT_EQ(report.files, 3U);
  EXPECT_TRUE(report.faults.empty());
  EXPECT_EQ(report.state_faults, std::vector<std::string>{"there is no bare state that fits"});
  write(folder_ / "ready.snap", "b state");
  write(folder_ / "vmlinux", std::string("Contents of vmlinux"));
  report = check_image(folder_);
  ASSERT_EQ(report.faults.size(), 1U);
  EXPECT_NE(report.faults[0].find("vmlinux"), std::string::npos);
  ASSERT_EQ(report.state_faults.size(), 2U);
  EXPECT_NE(report.state_faults[0].find("ready.snap"), std::string::npos);
}

TEST_F(ImageTest, EveryDamageOfTheManifestIsSaid) {
  const std::string good = manifest_.dump();
  // Cut off at every byte, and with each byte changed.
  for (std::size_t i = 0; i + 1 < good.size(); ++i) {
    write(folder_ / "manifest.json", good.substr(0, i));
    EXPECT_FALSE(find().ok()) << i;
    std::string changed = good;
    changed[i] = static_cast<char>(changed[i] ^ 0x15);
    write(folder_ / "manifest.json", changed);
    (void)complaint();  // fine or an error, but it comes back
  }
  for (const char* key : {"format", "architecture", "image_id", "kernel", "files", "memory_mib"}) {
    json without = manifest_;
    without.erase(key);
    write(folder_ / "manifest.json", without.dump());
    EXPECT_FALSE(find().ok()) << key;
  }
  manifest_["kernel"] = "../../etc/passwd";
  save();
  EXPECT_FALSE(find().ok());
  write(folder_ / "manifest.json", std::string(2 << 20, '['));
  EXPECT_FALSE(find().ok());
}

TEST_F(ImageTest, ADamagedFirstPlaceIsNotPassedOver) {
  fs::create_directory(folder_ / "bad");
  write(folder_ / "bad/manifest.json", "random bytes \xFF\x01");
  EXPECT_FALSE(find_image({{}, {folder_ / "bad", folder_}}).ok());
  EXPECT_TRUE(find_image({{}, {folder_ / "nothing", folder_}}).ok());
}

/// The same image as bytes of the program.
class EmbeddedImageTest : public ImageTest {
 protected:
  ~EmbeddedImageTest() override { register_image({}); }
  void enroll() {
    contents_["manifest.json"] = manifest_.dump();
    for (const char* name : {"vmlinux", "root.erofs", "cluster.disk.zst"})
      contents_.try_emplace(name, std::string("contents of ") + name);
    std::vector<EmbeddedFile> files;
    for (const auto& [name, contents] : contents_)
      files.push_back({name, std::as_bytes(std::span(contents))});
    register_image(files);
  }
  /// Nothing but what is registered, and a folder that comes behind.
  static base::Result<GuestImage> find_behind(const fs::path& folder) {
    return find_image({{}, {}, registered_image(), {folder}});
  }

  std::map<std::string, std::string> contents_;
};

TEST_F(EmbeddedImageTest, IsFoundBehindWhatTheUserListedAndBeforeAllFolders) {
  fs::create_directory(folder_ / "other");
  fs::copy_file(folder_ / "manifest.json", folder_ / "other/manifest.json");
  manifest_["image_id"] = "4567";
  enroll();
  const auto image = find_behind(folder_);
  ASSERT_TRUE(image.ok()) << image.error().message;
  EXPECT_EQ(image.value().id, "4567");
  EXPECT_EQ(image.value().files.folder, "");
  EXPECT_EQ(image.value().files.place(), "the program");
  EXPECT_TRUE(verify_image(image.value()).ok());
  const auto kernel = read_image_file(image.value().kernel);
  ASSERT_TRUE(kernel.ok());
  EXPECT_EQ(std::string(kernel.value().begin(), kernel.value().end()), "contents of vmlinux");
  EXPECT_EQ(find_image({{}, {folder_}, registered_image()}).value().id, "0123");
  EXPECT_EQ(find_image({{folder_}, {}, registered_image()}).value().id, "0123");
  register_image({});
  EXPECT_EQ(find_behind(folder_).value().id, "0123");
}

TEST_F(EmbeddedImageTest, AWrongOneIsSaidAndNotPassedOver) {
  contents_["root.erofs"] = "short";
  enroll();
  auto wrong = find_behind(folder_);
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message.find("'root.erofs' is 5 bytes long"), std::string::npos)
      << wrong.error().message;
  manifest_["kernel"] = "kernel-that-was-forgotten";
  manifest_["files"]["kernel-that-was-forgotten"] = manifest_["files"]["vmlinux"];
  enroll();
  wrong = find_behind(folder_);
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message.find("it is not in the program"), std::string::npos)
      << wrong.error().message;
  const std::string noise = "no JSON at all";
  register_image({{"manifest.json", std::as_bytes(std::span(noise))}});
  EXPECT_FALSE(find_behind(folder_).ok());
}

TEST_F(EmbeddedImageTest, ADiskOnItIsPaddedToASectorAndReadOnly) {
  std::vector<std::uint8_t> contents(1300);
  for (std::size_t i = 0; i < contents.size(); ++i)
    contents[i] = static_cast<std::uint8_t>(i * 7 + 1);
  EmbeddedDisk disk(contents);
  EXPECT_EQ(disk.capacity(), 1536u);
  std::vector<std::uint8_t> out(1024, 0xFF);
  ASSERT_TRUE(disk.read(512, out).ok());
  EXPECT_TRUE(std::equal(contents.begin() + 512, contents.end(), out.begin()));
  EXPECT_TRUE(std::all_of(out.begin() + 788, out.end(), [](auto byte) { return byte == 0; }));
  EXPECT_FALSE(disk.read(1536, base::Bytes(out).first(512)).ok());
  EXPECT_FALSE(disk.read(~std::uint64_t{0} - 511, base::Bytes(out).first(512)).ok());
  EXPECT_TRUE(disk.read_only());
  EXPECT_EQ(disk.touched_bytes(), 1536u);
  EXPECT_FALSE(disk.write(0, contents).ok());
  EXPECT_FALSE(disk.discard(0, 512).ok());
}

TEST_F(ImageTest, TheFaceThrowsAnImageError) {
  fs::resize_file(folder_ / "vmlinux", 3);
  EXPECT_THROW((void)Database::open_in_memory({.image = folder_}), ImageError);
  EXPECT_THROW((void)Database::open_in_memory({.image = folder_ / "nowhere"}), ImageError);
  // All hashes right, and yet no kernel and no disk.
  const std::string noise(5000, '\x5A');
  for (const char* name : {"vmlinux", "root.erofs", "cluster.disk.zst"}) {
    write(folder_ / name, noise);
    manifest_["files"][name]["bytes"] = noise.size();
    manifest_["files"][name]["sha256"] = sha256(noise);
  }
  save();
  EXPECT_THROW((void)Database::open_in_memory({.image = folder_}), ImageError);
}

}  // namespace
}  // namespace snowglobe::detail
