// api/tools/make_ready.cc - makes the image's ready state: boots the image, has sessions run their
// first statements, and writes the machine as one file. With `bare`, PostgreSQL then ends, and the
// machine that is written stands without its data disk. A step of `./dev guest`; users do not need
// it.
#include "api/src/database_state.h"
#include "api/src/instance.h"
#include "api/src/persistence.h"
#include <snowglobe/snowglobe.hpp>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <future>
#include <string_view>
#include <vector>

namespace {

// What most programs do first: it fills the backends' caches of the catalogue, and shows which code
// is worth translating.
constexpr const char* kFirstStatements = R"(
  create temporary table warm (id serial primary key, name text not null, at timestamptz default now());
  insert into warm (name) select 'name ' || i from generate_series(1, 200) i;
  create index on warm (name);
  analyze warm;
  select count(*), max(at), string_agg(name, ',') from warm where name like 'name 1%';
  update warm set name = upper(name) where id < 20;
  delete from warm where id > 150;
  select w.name, v.id from warm w join warm v using (id) order by w.name desc limit 5;
  select jsonb_build_object('a', array[1, 2, 3]) -> 'a' ->> 1, gen_random_uuid(), 1.5::numeric * 2;
  drop table warm;
)";

// Sessions of the pool that run side by side, so that each is a backend of its own.
template <class Run>
void run_side_by_side(int sessions, const Run& run) {
  std::vector<std::future<void>> runs;
  for (int i = 0; i < sessions; ++i)
    runs.push_back(std::async(std::launch::async, run));
  for (std::future<void>& each : runs)
    each.get();
}

void warm_up(snowglobe::Database& database, int sessions) {
  const auto run = [&database] {
    static_cast<void>(database.query("select pg_sleep(0.3)"));
    database.script(kFirstStatements);
    static_cast<void>(database.one<int>("select $1::int + 1", 1));
    static_cast<void>(database.one<std::string>("select version()"));
  };
  for (int round = 0; round < 3; ++round)
    run_side_by_side(sessions, run);
  database.execute("checkpoint");
}

// What is written between two saves will be written again by whoever starts from the second, which
// therefore takes note of it: here the way back to life and a first statement in each session.
snowglobe::Snapshot save_with_first_writes(snowglobe::Database& database, int sessions) {
  snowglobe::SaveOptions save;
  save.note = "PostgreSQL waits for its first statement";
  save.quiesce = true;
  database.restore(database.save({}, save));
  run_side_by_side(sessions, [&database] {
    static_cast<void>(database.query("select pg_sleep(0.1)"));
    static_cast<void>(database.one<int>("select $1::int + 1", 1));
  });
  save.quiesce = false;
  return database.save("ready", save);
}

// PostgreSQL has run and ended: its programs are in memory, and what they do has been translated.
snowglobe::Snapshot save_bare(snowglobe::Database& database,
                              snowglobe::detail::Instance& instance) {
  instance.make_bare();
  snowglobe::SaveOptions save;
  save.note = "waits for a data disk";
  save.quiesce = true;
  return database.save("bare", save);
}

int make(const std::filesystem::path& image, const std::filesystem::path& file, bool bare) {
  constexpr int kWaitingSessions = 2;
  const std::filesystem::path work = file.string() + ".store";
  std::filesystem::remove_all(work);
  snowglobe::Options options;
  options.image = image;
  options.start = snowglobe::Start::cold;
  options.pool_size = kWaitingSessions;
  const auto instance = snowglobe::detail::Instance::boot(options);
  snowglobe::Database database(
      std::make_shared<snowglobe::detail::DatabaseState>(instance, options));
  warm_up(database, kWaitingSessions);
  const snowglobe::Snapshot ready =
      bare ? save_bare(database, *instance) : save_with_first_writes(database, kWaitingSessions);
  snowglobe::SnapshotStore store = snowglobe::SnapshotStore::open(work, {.chunk_kib = 1024});
  const snowglobe::Snapshot stored = store.put(ready);
  store.export_to(stored, file, {.compression_level = 19, .overwrite = true});
  std::filesystem::remove_all(work);
  std::printf("%s state: %.1f MB, of a machine with %.1f MB of memory\n", bare ? "bare" : "ready",
              static_cast<double>(std::filesystem::file_size(file)) / 1e6,
              static_cast<double>(stored.sizes().memory) / 1e6);
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  const bool bare = count == 4 && std::string_view(arguments[3]) == "bare";
  if (count != 3 && !bare) {
    std::fprintf(stderr, "usage: snowglobe_make_ready IMAGE-FOLDER FILE [bare]\n");
    return 2;
  }
  try {
    return make(arguments[1], arguments[2], bare);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "the ready state could not be made: %s\n", error.what());
    return 1;
  }
}
