// examples/bug_report.cc - a bug report as one file: the machine at the moment at which it
// happened, open transactions and all, for somebody else to open.
#include <snowglobe/snowglobe.hpp>

#include <cstdio>
#include <filesystem>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;

// The one who meets the bug.
void report(const fs::path& folder, const fs::path& file) {
  auto db = snowglobe::Database::open_in_memory();
  db.script(
      "create table stock(article text primary key, pieces int);"
      "insert into stock values ('globe', 3), ('stand', -1)");
  const auto bug = db.save("negative stock", {.note = "after the second order", .quiesce = true});
  auto store = snowglobe::SnapshotStore::open(folder);
  store.export_to(store.put(bug), file, {.compression_level = 9});
  std::printf("wrote one file\n");
}

// The one who mends it, on another machine.
void look(const fs::path& folder, const fs::path& file) {
  auto store = snowglobe::SnapshotStore::open(folder);
  const auto bug = store.import_from(file);
  std::printf("\"%s\", %s\n", bug.name().c_str(), bug.note().c_str());
  auto db = snowglobe::Database::open_in_memory({.from = bug});
  for (auto [article, pieces] :
       db.query<std::string, int>("select article, pieces from stock where pieces < 0")) {
    std::printf("%s: %d\n", article.c_str(), pieces);
  }
}

}  // namespace

int main() {
  const fs::path folder =
      fs::temp_directory_path() / ("snowglobe-bug-report-" + std::to_string(::getpid()));
  int status = 0;
  try {
    fs::create_directory(folder);
    report(folder / "mine", folder / "bug.snap");
    look(folder / "theirs", folder / "bug.snap");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bug_report: %s\n", error.what());
    status = 1;
  }
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  return status;
}
