// bench/native_server.h - a PostgreSQL that runs directly on the host, to compare with: the image's
// own i686 programs (the native twin), or an x86-64 server of the host.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace bench {

/// A server on a loopback port with a fresh cluster in a temporary folder; both are gone with the
/// object. Runs as an unprivileged user when the benchmark itself is root, as PostgreSQL insists.
class NativeServer {
 public:
  /// `bin` holds initdb and postgres; `libraries` (may be empty) is for LD_LIBRARY_PATH. Throws
  /// std::runtime_error.
  NativeServer(std::filesystem::path bin, std::filesystem::path libraries);
  ~NativeServer();
  NativeServer(const NativeServer&) = delete;
  NativeServer& operator=(const NativeServer&) = delete;

  [[nodiscard]] const std::string& conninfo() const { return conninfo_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }  ///< on 127.0.0.1
  /// Stops the server and starts it again; returns the seconds from exec to the first query's
  /// answer.
  double restart();

  /// The twin from the image's unpacked root folder, or null with the reason in `why`.
  static std::unique_ptr<NativeServer> twin(const std::filesystem::path& image, std::string& why);
  /// An x86-64 server that is installed on the host, or null with the reason in `why`.
  static std::unique_ptr<NativeServer> host(std::string& why);

 private:
  double start();
  void stop() noexcept;
  pid_t spawn(const std::vector<std::string>& argv) const;

  std::filesystem::path bin_;
  std::filesystem::path libraries_;
  std::filesystem::path copy_;  ///< of the image's programs, for the twin
  std::filesystem::path work_;
  std::uint16_t port_;
  std::string conninfo_;
  pid_t pid_ = -1;
};

}  // namespace bench
