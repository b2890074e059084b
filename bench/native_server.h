// bench/native_server.h - a PostgreSQL that runs directly on the host, to compare with: the image's
// own i686 programs (the native twin), or an x86-64 server of the host.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace bench {

using Settings = std::map<std::string, std::string>;

struct NativeOptions {
  Settings settings = {};             ///< of postgresql.conf; those it does not know are left out
  std::filesystem::path folder = {};  ///< where the cluster goes; empty: the temporary folder
};

/// Where a server's programs are, and how its cluster is made.
struct Installation {
  std::filesystem::path bin;        ///< holds initdb and postgres
  std::filesystem::path libraries;  ///< for LD_LIBRARY_PATH; may be empty
  std::vector<std::string> locale;  ///< options of initdb
};

/// A server on a loopback port with a fresh cluster in a folder of its own; both are gone with the
/// object. Runs as an unprivileged user when the benchmark itself is root, as PostgreSQL insists.
class NativeServer {
 public:
  /// Throws std::runtime_error.
  NativeServer(Installation installation, const NativeOptions& options);
  ~NativeServer();
  NativeServer(const NativeServer&) = delete;
  NativeServer& operator=(const NativeServer&) = delete;

  [[nodiscard]] const std::string& conninfo() const { return conninfo_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }  ///< on 127.0.0.1
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const std::filesystem::path& bin() const { return installation_.bin; }
  /// Stops the server and starts it again; returns the seconds from exec to the first query's
  /// answer.
  double restart();
  /// The same after all of it was killed.
  double restart_after_kill();

  /// The twin from the image's unpacked root folder, or null with the reason in `why`.
  static std::unique_ptr<NativeServer> twin(const std::filesystem::path& image, std::string& why,
                                            const NativeOptions& options = {});
  /// An x86-64 server that is installed on the host, or null with the reason in `why`.
  static std::unique_ptr<NativeServer> host(std::string& why, const NativeOptions& options = {});

 private:
  void make_cluster();
  void write_settings(const Settings& settings);
  double start();
  void stop() noexcept;
  [[nodiscard]] std::string log_tail() const;
  [[nodiscard]] std::vector<std::string> known_settings() const;
  [[nodiscard]] std::map<std::string, std::string> environment() const;

  Installation installation_;
  std::filesystem::path copy_;  ///< of the image's programs, for the twin
  std::filesystem::path work_;
  std::uint16_t port_;
  std::string conninfo_;
  pid_t pid_ = -1;
};

}  // namespace bench
