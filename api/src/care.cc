// api/src/care.cc - looking after a database: dump and load by the guest's own programs, checks of
// everything that has a checksum or an order, and space given back.
#include "api/src/database_state.h"
#include "api/src/errors.h"
#include "api/src/guest_input.h"
#include "base/file_system.h"
#include <snowglobe/database.hpp>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <mutex>
#include <thread>

namespace snowglobe {
inline namespace v1 {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDataMount = "/var/lib/postgresql";

/// Gives a file to a program of the guest as its standard input, from a thread of its own.
class FileInput {
 public:
  explicit FileInput(std::ifstream& file) : feeder_([this, &file] { feed(file); }) {}
  ~FileInput() {
    {
      // Whether or not there ever was a program.
      const std::lock_guard lock(input_.state()->mutex);
      input_.state()->over = true;
      input_.state()->changed.notify_all();
    }
    feeder_.join();
  }
  FileInput(const FileInput&) = delete;
  FileInput& operator=(const FileInput&) = delete;

  [[nodiscard]] const GuestInput& input() const { return input_; }
  /// The file could not be read to its end.
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  void feed(std::ifstream& file) {
    std::string piece(std::size_t{256} << 10, '\0');
    while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())), file.gcount() > 0) {
      const std::string_view read(piece.data(), static_cast<std::size_t>(file.gcount()));
      if (!input_.write(read)) return;
    }
    failed_ = file.bad();
    input_.close();
  }

  GuestInput input_;
  std::atomic<bool> failed_ = false;
  std::thread feeder_;  // the last: it uses the others
};

void run_program(Guest guest, const std::vector<std::string>& words, const ExecOptions& options) {
  const ExecResult done = guest.exec(words, options);
  if (done.exit_code == 0) return;
  throw Error(Errc::sql, words.front() + " ended with " + std::to_string(done.exit_code) + ": " +
                             (done.err.empty() ? done.out : done.err));
}

std::vector<std::string> databases_of(Database& db) {
  std::vector<std::string> names;
  for (auto [name] :
       db.query<std::string>("select datname::text from pg_database where datallowconn order by 1"))
    names.push_back(name);
  return names;
}

/// Where an extension's functions are; made in `schema` if it is not installed.
std::string schema_of(Session& session, const std::string& extension, const std::string& schema) {
  const auto there = session.maybe<std::string>(
      "select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = "
      "e.extnamespace where e.extname = $1",
      extension);
  if (there) return *there;
  session.execute("create extension " + extension + " schema " + schema);
  return schema;
}

/// Reads every page of every relation, which compares its checksum, and the order of every B-tree.
std::string check_function(const std::string& amcheck, const std::string& prewarm) {
  return R"(
create function snowglobe_check.all_of_it() returns setof text language plpgsql as $$
declare r record; found record;
begin
  for r in select c.oid, c.oid::regclass::text as name, c.relkind,
                  coalesce(a.amname, '') as method, coalesce(i.indisvalid, true) as valid
           from pg_class c left join pg_am a on a.oid = c.relam
                           left join pg_index i on i.indexrelid = c.oid
           where c.relkind in ('r', 'm', 't', 'i') and c.relpersistence = 'p'
                 and pg_relation_filenode(c.oid) is not null order by c.oid loop
    begin
      perform )" +
         prewarm + R"(.pg_prewarm(r.oid, 'buffer');
      if r.relkind <> 'i' then
        for found in select * from )" +
         amcheck + R"(.verify_heapam(r.oid) loop
          return next format('%s: block %s, line %s: %s', r.name, found.blkno, found.offnum, found.msg);
        end loop;
      elsif r.method = 'btree' and r.valid then
        perform )" +
         amcheck + R"(.bt_index_check(r.oid, true);
      end if;
    exception when others then
      return next r.name || ': ' || sqlerrm;
    end;
    return next '';
  end loop;
end $$)";
}

}  // namespace

void Database::dump(const fs::path& file, const DumpOptions& options) {
  std::error_code ignored;
  if (!options.overwrite && fs::exists(file, ignored)) {
    throw InvalidArgument("'" + file.string() + "' is there already (DumpOptions::overwrite)");
  }
  const fs::file_type kind = fs::status(file, ignored).type();
  if (kind != fs::file_type::not_found && kind != fs::file_type::regular) {
    throw InvalidArgument("'" + file.string() +
                          "' is no plain file, and a dump replaces what is there");
  }
  std::vector<std::string> words = {"pg_dump", "--format=custom"};
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  words.push_back("--dbname=" + options.database);
  fs::path fresh = file;
  fresh += ".new";
  base::FileSystem& files = base::FileSystem::host();
  const auto out = detail::value_or_throw(files.write_file(fresh, {}));
  std::uint64_t at = 0;
  ExecOptions program;
  program.limit = options.limit;
  program.on_out = [&](std::string_view bytes) {
    detail::value_or_throw(out->write_at(at, base::bytes_of(bytes)));
    at += bytes.size();
  };
  try {
    run_program(guest(), words, program);
    detail::value_or_throw(out->sync());
    detail::value_or_throw(files.rename(fresh, file));
  } catch (...) {
    static_cast<void>(files.remove_if_there(fresh));
    throw;
  }
}

void Database::load(const fs::path& file, const LoadOptions& options) {
  std::ifstream in(file, std::ios::binary);
  if (!in) detail::throw_error(base::os_error("open", file, errno));
  std::vector<std::string> words = {"pg_restore", "--exit-on-error", "--single-transaction",
                                    "--dbname=" + options.database};
  if (options.clean) {
    words.emplace_back("--clean");
    words.emplace_back("--if-exists");
  }
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  FileInput input(in);
  ExecOptions program;
  program.limit = options.limit;
  program.input = input.input();
  try {
    run_program(guest(), words, program);
  } catch (const Error&) {
    if (!input.failed()) throw;
    throw Error(Errc::io, "'" + file.string() + "' could not be read to its end");
  }
}

CheckReport Database::check() {
  CheckReport report;
  for (const std::string& name : databases_of(*this)) {
    SessionOptions options;
    options.database = name;
    options.statement_limit = std::chrono::hours(1);
    Session checker = session(options);
    checker.script("set default_transaction_read_only = off");
    // Nothing of this stays: it is rolled back.
    Transaction transaction = checker.begin();
    checker.execute("create schema snowglobe_check");
    const std::string amcheck = schema_of(checker, "amcheck", "snowglobe_check");
    const std::string prewarm = schema_of(checker, "pg_prewarm", "snowglobe_check");
    checker.execute(check_function(amcheck, prewarm));
    for (auto [line] : checker.query<std::string>("select snowglobe_check.all_of_it()")) {
      if (line.empty()) {
        ++report.relations;
      } else {
        report.problems.push_back(name + ": " + line);
      }
    }
    transaction.rollback();
    ++report.databases;
  }
  return report;
}

CompactReport Database::compact(const CompactOptions& options) {
  CompactReport report;
  report.before = state().disk_bytes();
  for (const std::string& name : databases_of(*this)) {
    SessionOptions session_options;
    session_options.database = name;
    session_options.statement_limit = options.limit;
    session(session_options).execute(options.full ? "vacuum (full, analyze)" : "vacuum (analyze)");
  }
  execute("checkpoint");
  ExecOptions program;
  program.limit = options.limit;
  run_program(guest(), {"sync"}, program);
  run_program(guest(), {"fstrim", kDataMount}, program);
  report.after = state().disk_bytes();
  return report;
}

void Database::set_disk_limit(unsigned megabytes) {
  state().set_disk_limit(megabytes);
}

BackupResult Database::backup_to(const fs::path& path, const BackupOptions& options) {
  return state().backup_to(path, options);
}

}  // namespace v1
}  // namespace snowglobe
