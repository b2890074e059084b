// cli/doctor.cc - does everything work on this computer, and if not, what helps? The checks that
// start a machine; doctor_host.cc has the others.
#include "cli/doctor.h"

#include "cli/doctor_checks.h"
#include "cli/json.h"
#include "cli/terminal.h"
#include <algorithm>
#include <fmt/format.h>
#include <iostream>
#include <libpq-fe.h>
#include <memory>
#include <utility>
#include <vector>

namespace snowglobe::cli {
namespace {

using Clock = std::chrono::steady_clock;

/// What a database can show. start() comes first; the others require that it runs.
class Trial {
 public:
  explicit Trial(Context& context) : context_(context) {}

  Finding start() {
    const auto begun = Clock::now();
    running_.emplace(context_);
    const Info info = running_->database.info();
    const auto took = Clock::now() - begun;
    const std::string text = fmt::format("{} in {}", info.started, human_duration(took));
    if (!info.why_cold.empty())
      return {Verdict::warning, text + ": " + info.why_cold,
              "./dev guest makes the ready state; starts take 80 ms then"};
    return {Verdict::ok, text};
  }

  [[nodiscard]] bool runs() const { return running_.has_value(); }

  /// All files are read: only a damaged one that nothing needed so far gets here.
  Finding image() {
    image_ = check_image(context_.globals.image);
    if (!image_.faults.empty()) return {Verdict::failure, image_.faults.front(), kAgain};
    return {Verdict::ok,
            fmt::format("{}: version {}, id {}, {} files of {} as their hashes say",
                        image_.folder.empty() ? "in the program" : image_.folder.string(),
                        image_.version, image_.id.substr(0, 12), image_.files,
                        human_bytes(image_.bytes))};
  }
  /// Behind image().
  Finding states() const {
    if (image_.state_faults.empty())
      return {Verdict::ok, "ready and bare state are of this image, and whole"};
    return {Verdict::warning,
            fmt::format("{}: starts take seconds, the first of them at least",
                        fmt::join(image_.state_faults, "; ")),
            kAgain};
  }

  Finding executor() {
    const Info info = database().info();
    if (info.executor == "translator") {
      return {Verdict::ok, fmt::format("translator; this machine uses {} mappings",
                                       database().stats().translator.mappings)};
    }
    const std::string why =
        info.why_interpreted.empty() ? "it was asked for" : info.why_interpreted;
    return {Verdict::warning, info.executor + ": " + why,
            "everything works, 20 to 100 times slower; what is amiss above may say why"};
  }

  Finding query() {
    const auto begun = Clock::now();
    const std::string version = database().version();
    return {Verdict::ok, fmt::format("{} in {}", version.substr(0, version.find(',')),
                                     human_duration(Clock::now() - begun))};
  }

  Finding restore() {
    Database& db = database();
    db.execute("create table snowglobe_doctor (n int)");
    const auto begun = Clock::now();
    const Snapshot saved = db.save();
    const auto save_took = Clock::now() - begun;
    db.execute("insert into snowglobe_doctor values (1)");
    const auto back = Clock::now();
    db.restore(saved);
    const auto restore_took = Clock::now() - back;
    const int rows = db.one<int>("select count(*)::int from snowglobe_doctor");
    db.execute("drop table snowglobe_doctor");
    if (rows != 0) return {Verdict::failure, "a row is there after the restore", "report this"};
    return {Verdict::ok, fmt::format("saved in {}, restored in {}", human_duration(save_took),
                                     human_duration(restore_took))};
  }

  Finding clock() {
    const double guest =
        database().one<double>("select extract(epoch from clock_timestamp())::float8");
    const double host =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    const std::string text = fmt::format("{:.0f} ms apart after the restore", (guest - host) * 1e3);
    if (std::abs(guest - host) < 1) return {Verdict::ok, text};
    return {Verdict::failure, text, "report this, with `snowglobe logs --source kernel`"};
  }

  Finding expose() {
    const Endpoint endpoint = database().expose();
    const std::string info = endpoint.uri() + "?connect_timeout=10";
    const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectdb(info.c_str()),
                                                                  &PQfinish);
    const bool in = PQstatus(connection.get()) == CONNECTION_OK;
    const std::string why = in ? "" : PQerrorMessage(connection.get());
    database().hide(endpoint);
    if (!in) return {Verdict::failure, why, "does a firewall or a container stop loopback?"};
    return {Verdict::ok, "an outside client logged in with SCRAM on 127.0.0.1"};
  }

 private:
  Database& database() { return running_->database; }

  static constexpr const char* kAgain =
      "make the image again (./dev guest), or copy all of its folder again";

  Context& context_;
  std::optional<Running> running_;
  ImageReport image_;
};

/// A database in a folder is looked at, not opened: the trial is in memory.
Finding database_folder(const std::filesystem::path& folder) {
  const DatabaseInfo info = Database::inspect(folder);
  const std::string text =
      fmt::format("PostgreSQL {}, {} of {}, {}", info.postgres_version,
                  human_bytes(info.disk_bytes), human_bytes(info.capacity),
                  info.open ? fmt::format("open in process {}", info.pid) : info.state);
  return {Verdict::ok, text};
}

constexpr const char* kMore =
    "SNOWGLOBE_LOG=debug snowglobe \"select 1\" shows what the guest says; does --executor "
    "interpreter help?";

Finding guarded(const Check& check, int& code) {
  try {
    return check.look();
  } catch (const ImageError& error) {
    code = kNoImage;
    return {Verdict::failure, error.what(), "SNOWGLOBE_IMAGE or --image names the image's folder"};
  } catch (const DatabaseNotFound& error) {
    code = kNotFound;
    return {Verdict::failure, error.what(), "snowglobe init makes one"};
  } catch (const TimeoutError& error) {
    code = kNotStarted;
    return {Verdict::failure, error.what(), kMore};
  } catch (const GuestCrashed& error) {
    code = kNotStarted;
    return {Verdict::failure, error.what(), kMore};
  } catch (const Cancelled&) {
    throw;
  } catch (const std::exception& error) {
    return {Verdict::failure, error.what(), ""};
  }
}

void print(const Check& check, const Finding& finding) {
  const std::string mark = finding.verdict == Verdict::ok        ? styled(Style::green, "ok  ")
                           : finding.verdict == Verdict::warning ? styled(Style::yellow, "warn")
                                                                 : styled(Style::red, "FAIL");
  std::cout << fmt::format("{}  {:<18} {}\n", mark, check.name, finding.text);
  if (finding.verdict != Verdict::ok && !finding.advice.empty())
    std::cout << fmt::format("      {:<18} -> {}\n", "", finding.advice);
  std::cout.flush();
}

/// Runs checks and says what they find.
class Report {
 public:
  explicit Report(bool json) : json_(json) {}

  void look(const std::vector<Check>& checks) {
    for (const Check& check : checks) {
      int worse = kFailed;
      Finding finding = guarded(check, worse);
      std::replace(finding.text.begin(), finding.text.end(), '\n', ' ');
      if (finding.verdict == Verdict::failure && code_ == kOk) code_ = worse;
      if (finding.verdict == Verdict::warning) ++warnings_;
      constexpr const char* kVerdicts[] = {"ok", "warning", "failure"};
      all_.push_back({{"check", check.name},
                      {"verdict", kVerdicts[static_cast<std::size_t>(finding.verdict)]},
                      {"text", finding.text},
                      {"advice", finding.advice}});
      if (!json_) print(check, finding);
    }
  }

  /// Returns the exit code.
  int finish() const {
    if (json_) {
      print_json({{"healthy", code_ == kOk}, {"warnings", warnings_}, {"checks", all_}});
    } else {
      std::cout << (code_ != kOk     ? "something does not work here\n"
                    : warnings_ != 0 ? "everything works, and could be better\n"
                                     : "everything works\n");
    }
    return code_;
  }

 private:
  bool json_;
  int code_ = kOk;
  std::size_t warnings_ = 0;
  Json all_ = Json::array();
};

}  // namespace

int run_doctor(Context& context) {
  const std::filesystem::path database = std::exchange(context.globals.database, {});
  Trial trial(context);
  std::vector<Check> checks = host_checks(database);
  if (!database.empty())
    checks.push_back({"database", [database] { return database_folder(database); }});
  checks.push_back({"start", [&trial] { return trial.start(); }});
  Report report(context.globals.json);
  report.look(checks);
  if (trial.runs()) {
    report.look({{"image", [&trial] { return trial.image(); }},
                 {"ready states", [&trial] { return trial.states(); }},
                 {"executor", [&trial] { return trial.executor(); }},
                 {"query", [&trial] { return trial.query(); }},
                 {"save and restore", [&trial] { return trial.restore(); }},
                 {"clock", [&trial] { return trial.clock(); }},
                 {"expose", [&trial] { return trial.expose(); }}});
  }
  return report.finish();
}

}  // namespace snowglobe::cli
