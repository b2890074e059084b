// tests/base/layering_test.cc - holds the include rules of docs/architecture.md: who may know whom.
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

namespace fs = std::filesystem;

using Rules = std::map<std::string, std::set<std::string>>;

// Folder -> folders whose headers it may include. "snowglobe" is api's public face
// (<snowglobe/...>).
const Rules kLayers = {
    {"base", {"base"}},
    {"vm", {"vm", "base"}},
    {"guestnet", {"guestnet", "base"}},
    {"snapshots", {"snapshots", "base"}},
    {"api", {"api", "vm", "guestnet", "snapshots", "base", "guest", "snowglobe"}},
    {"cli", {"cli", "snowglobe"}},
    {"examples", {"examples", "snowglobe"}},
    {"bench", {"bench", "snowglobe"}},
};

// Inside vm/: the processor knows nothing of devices, devices nothing of the processor.
const Rules kMachine = {
    {"vm/memory", {"vm/memory", "vm/types.h"}},
    {"vm/cpu", {"vm/cpu", "vm/memory", "vm/types.h"}},
    {"vm/bus", {"vm/bus", "vm/cpu/environment.h", "vm/types.h"}},
    {"vm/devices",
     {"vm/devices", "vm/bus", "vm/memory", "vm/backends.h", "vm/cpu/environment.h", "vm/types.h"}},
    {"vm/boot", {"vm/boot", "vm/memory", "vm/cpu/state.h", "vm/types.h"}},
};

bool is_source(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".cc" || extension == ".h" || extension == ".hpp";
}

std::vector<std::string> included_by(const fs::path& file) {
  static const std::regex kInclude(R"(^\s*#\s*include\s*["<]([^">]+)[">])");
  std::vector<std::string> found;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::smatch match;
    if (std::regex_search(line, match, kInclude)) found.push_back(match[1]);
  }
  return found;
}

bool starts_with_any(const std::string& path, const std::set<std::string>& prefixes) {
  for (const std::string& prefix : prefixes) {
    if (path == prefix || path.rfind(prefix + "/", 0) == 0) return true;
  }
  return false;
}

// Breaches of `rules` in the folder `folder`; only headers under one of `ours` are looked at.
std::vector<std::string> breaches(const fs::path& root, const std::string& folder,
                                  const std::set<std::string>& allowed,
                                  const std::set<std::string>& ours) {
  std::vector<std::string> found;
  if (!fs::exists(root / folder)) return found;
  for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
    if (!entry.is_regular_file() || !is_source(entry.path())) continue;
    for (const std::string& header : included_by(entry.path())) {
      if (starts_with_any(header, ours) && !starts_with_any(header, allowed)) {
        found.push_back(fs::relative(entry.path(), root).string() + " includes " + header);
      }
    }
  }
  return found;
}

TEST(Layering, EveryFolderIncludesOnlyWhatItMayKnow) {
  std::set<std::string> ours{"snowglobe", "guest", "tests"};
  for (const auto& [folder, allowed] : kLayers)
    ours.insert(folder);
  for (const auto& [folder, allowed] : kLayers) {
    for (const std::string& breach : breaches(SOURCE_DIR, folder, allowed, ours)) {
      ADD_FAILURE() << breach;
    }
  }
}

TEST(Layering, ProcessorAndDevicesDoNotKnowEachOther) {
  for (const auto& [folder, allowed] : kMachine) {
    for (const std::string& breach : breaches(SOURCE_DIR, folder, allowed, {"vm"})) {
      ADD_FAILURE() << breach;
    }
  }
}

TEST(Layering, TheCheckFindsABreach) {
  const fs::path root =
      fs::path(testing::TempDir()) / ("layering_check_" + std::to_string(::getpid()));
  fs::create_directories(root / "guestnet");
  std::ofstream(root / "guestnet" / "bad.cc") << "#include \"vm/cpu/cpu.h\"\n";
  const auto found = breaches(root, "guestnet", {"guestnet", "base"}, {"vm", "base", "guestnet"});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0], "guestnet/bad.cc includes vm/cpu/cpu.h");
  fs::remove_all(root);
}

}  // namespace
