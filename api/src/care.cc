// api/src/care.cc - looking after a database: dump and load by the guest's own programs, checks of
// everything that has a checksum or an order, and space given back.
#include "api/src/database_state.h"
#include "api/src/errors.h"
#include "base/file_system.h"
#include "base/random.h"
#include <snowglobe/database.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

namespace snowglobe {
inline namespace v1 {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDataMount = "/var/lib/postgresql";
constexpr std::size_t kPiece = std::size_t{4} << 20;

/// A file of the guest's data disk that is gone with the object.
class GuestFile {
 public:
  explicit GuestFile(Guest guest) : guest_(std::move(guest)) {
    base::SystemRandom random;
    std::array<std::uint8_t, 8> bytes;
    random.fill(bytes);
    path_ = std::string(kDataMount) + "/snowglobe-";
    for (const std::uint8_t byte : bytes)
      path_ += std::to_string(byte);
  }
  ~GuestFile() {
    try {
      guest_.exec({"rm", "-f", path_, path_ + ".piece"});
    } catch (...) {
      // A machine that is gone has no use for it; the next one finds some space taken.
    }
  }
  GuestFile(const GuestFile&) = delete;
  GuestFile& operator=(const GuestFile&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

  void append(std::string_view bytes) {
    const std::string piece = path_ + ".piece";
    guest_.put(piece, bytes);
    const ExecResult done = guest_.exec({"sh", "-c", "cat '" + piece + "' >> '" + path_ + "'"});
    if (done.exit_code != 0) throw Error(Errc::resource_exhausted, "in the guest: " + done.err);
  }

 private:
  Guest guest_;
  std::string path_;
};

void run_program(Guest guest, const std::vector<std::string>& words,
                 std::chrono::milliseconds limit) {
  ExecOptions options;
  options.limit = limit;
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
  GuestFile there(guest());
  std::vector<std::string> words = {"pg_dump", "--format=custom", "--file=" + there.path()};
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  words.push_back("--dbname=" + options.database);
  run_program(guest(), words, options.limit);
  fs::path fresh = file;
  fresh += ".new";
  base::FileSystem& files = base::FileSystem::host();
  const auto out = detail::value_or_throw(files.write_file(fresh, {}));
  const auto require = [&](const base::Result<void>& done) {
    if (done) return;
    static_cast<void>(files.remove_if_there(fresh));
    detail::throw_error(done.error());
  };
  Session reader = session();
  for (std::uint64_t at = 0;;) {
    const Bytes piece =
        reader.one<Bytes>("select pg_read_binary_file($1, $2::int8, $3::int8)", there.path(),
                          static_cast<std::int64_t>(at), static_cast<std::int64_t>(kPiece));
    const base::ConstBytes bytes(
        static_cast<const std::uint8_t*>(static_cast<const void*>(piece.data())), piece.size());
    require(out->write_at(at, bytes));
    at += piece.size();
    if (piece.size() < kPiece) break;
  }
  require(out->sync());
  require(files.rename(fresh, file));
}

void Database::load(const fs::path& file, const LoadOptions& options) {
  std::ifstream in(file, std::ios::binary);
  if (!in) detail::throw_error(base::os_error("open", file, errno));
  GuestFile there(guest());
  std::string piece(kPiece, '\0');
  while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())), in.gcount() > 0)
    there.append({piece.data(), static_cast<std::size_t>(in.gcount())});
  std::vector<std::string> words = {"pg_restore", "--exit-on-error", "--single-transaction",
                                    "--dbname=" + options.database};
  if (options.clean) {
    words.emplace_back("--clean");
    words.emplace_back("--if-exists");
  }
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  words.push_back(there.path());
  run_program(guest(), words, options.limit);
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
  run_program(guest(), {"sync"}, options.limit);
  run_program(guest(), {"fstrim", kDataMount}, options.limit);
  report.after = state().disk_bytes();
  return report;
}

BackupResult Database::backup_to(const fs::path& path, const BackupOptions& options) {
  return state().backup_to(path, options);
}

}  // namespace v1
}  // namespace snowglobe
