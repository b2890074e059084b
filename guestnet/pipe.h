// guestnet/pipe.h - listeners: where clients on the host come in, and which guest port they get.
// PipeListener is for this process only (libpq in the application); LoopbackListener and
// FolderListener for psql and others.
#pragma once

#include "base/error.h"
#include "guestnet/network.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace snowglobe::net {

class Acceptor;

/// What all kinds of listener can do. Thread rule: as Network. Destroy listeners before their
/// network (Network::shutdown() closes them, but does not destroy them).
class Listener {
 public:
  using OnClient = std::function<void(asio::generic::stream_protocol::socket)>;

  virtual ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  [[nodiscard]] ListenerId id() const { return target_.listener; }
  /// Where its clients are taken.
  [[nodiscard]] const StreamTarget& target() const { return target_; }
  /// Clients that come from now on wait in the kernel's backlog, connected but unanswered, until
  /// resume(). For the time in which the guest's server is not ready yet.
  void pause();
  void resume();
  /// Stops listening; streams that are open go on. Idempotent.
  void close();
  [[nodiscard]] bool is_open() const;
  /// Clients turned away because they are not this process (PipeListener only).
  [[nodiscard]] std::uint64_t strangers() const;

 protected:
  Listener(std::shared_ptr<Acceptor> acceptor, const StreamTarget& target);
  static ListenerId next_id(Network& network);
  static std::shared_ptr<Acceptor> make_acceptor(Network& network, const StreamTarget& target,
                                                 OnClient on_client);
  static base::RandomSource& random_of(Network& network);
  static asio::io_context& loop_of(Network& network);

  std::shared_ptr<Acceptor> acceptor_;
  StreamTarget target_;
};

/// An abstract Unix socket with a random name. Only this very process gets in: the peer's process
/// and user id are checked (SO_PEERCRED), anybody else is closed at once.
class PipeListener final : public Listener {
 public:
  struct Options {
    std::uint16_t guest_port = 5432;
    bool paused = false;  ///< as after pause()
    int backlog = 128;
    /// If set, takes the clients that were let in, instead of the guest's port; what becomes of
    /// them is its affair (Network::adopt(), Network::open_stream()). Not called after shutdown().
    OnClient on_client;
  };

  /// Errors: kIo.
  static base::Result<std::unique_ptr<PipeListener>> create(Network& network,
                                                            const Options& options);

  /// For libpq's `host=`: "@snowglobe-<32 hex digits>". libpq appends "/.s.PGSQL.<port>", which is
  /// part of the name that is listened on.
  [[nodiscard]] const std::string& host() const { return host_; }
  /// For libpq's `port=`: the guest's port.
  [[nodiscard]] std::uint16_t port() const { return target_.guest_port; }
  /// The whole abstract name, without the leading NUL.
  [[nodiscard]] std::string abstract_name() const;

 private:
  PipeListener(std::shared_ptr<Acceptor> acceptor, const StreamTarget& target, std::string host);

  std::string host_;
};

/// A TCP port of the host. Clients appear in the guest as the gateway with distinct ports.
class LoopbackListener final : public Listener {
 public:
  struct Options {
    std::string address = "127.0.0.1";
    std::uint16_t port = 0;  ///< 0: any free one
    std::uint16_t guest_port = 5432;
    bool paused = false;
    int backlog = 128;
  };

  /// Errors: kInvalidArgument (not an IP address), kAlreadyExists (port in use), kIo.
  static base::Result<std::unique_ptr<LoopbackListener>> create(Network& network,
                                                                const Options& options);

  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }  ///< the actual one

 private:
  LoopbackListener(std::shared_ptr<Acceptor> acceptor, const StreamTarget& target,
                   std::string address, std::uint16_t port);

  std::string address_;
  std::uint16_t port_ = 0;
};

/// A Unix socket in a folder of the host, where libpq looks for one: ".s.PGSQL.<port>". Its mode is
/// the process's umask's affair. Clients appear in the guest as those of a LoopbackListener do. The
/// destructor removes the file.
class FolderListener final : public Listener {
 public:
  struct Options {
    std::string folder;
    std::uint16_t port = 5432;  ///< part of the file's name
    std::uint16_t guest_port = 5432;
    int backlog = 128;
  };

  /// A socket that nobody listens on any more is replaced. Errors: kInvalidArgument (a path that is
  /// too long for a socket), kAlreadyExists (somebody listens there), kIo.
  static base::Result<std::unique_ptr<FolderListener>> create(Network& network,
                                                              const Options& options);
  ~FolderListener() override;

 private:
  FolderListener(std::shared_ptr<Acceptor> acceptor, const StreamTarget& target, std::string path);

  std::string path_;
  std::uint64_t inode_ = 0;  // of the file that is ours
};

}  // namespace snowglobe::net
