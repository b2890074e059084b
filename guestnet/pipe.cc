// guestnet/pipe.cc - the private pipe of this process, and the loopback port or Unix socket for
// others.
#include "guestnet/pipe.h"

#include "guestnet/network_parts.h"

#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace snowglobe::net {
namespace {

using base::Error;
using base::ErrorCode;

std::string random_name(base::RandomSource& random) {
  std::uint8_t bytes[16];
  random.fill(bytes);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string name = "@snowglobe-";
  for (const std::uint8_t byte : bytes) {
    name += kDigits[byte >> 4];
    name += kDigits[byte & 0xF];
  }
  return name;
}

/// unix(7), SO_PEERCRED: the credentials that were in effect when the client called connect(). A
/// child that inherited nothing but the name has another process id; so has one in another pid
/// namespace.
bool is_this_process(Acceptor::Protocol::socket& client) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(client.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return false;
  }
  return length == sizeof peer && peer.pid == ::getpid() && peer.uid == ::geteuid();
}

std::uint64_t inode_of(const std::string& path) {
  struct stat about {};
  return ::lstat(path.c_str(), &about) == 0 && S_ISSOCK(about.st_mode) ? about.st_ino : 0;
}

/// Whether the file is a socket that was left behind by a process that is gone.
bool is_abandoned(asio::io_context& loop, const asio::local::stream_protocol::endpoint& endpoint) {
  asio::local::stream_protocol::socket probe(loop);
  std::error_code error;
  probe.open(endpoint.protocol(), error);
  if (!error) probe.non_blocking(true, error);  // a full backlog must not hold the machine up
  if (!error) probe.connect(endpoint, error);
  return error.value() == ECONNREFUSED;
}

Error at_address(const Error& error, const std::string& address) {
  return Error{error.code, "listen on " + address + ": " + error.message};
}

}  // namespace

Listener::Listener(std::shared_ptr<Acceptor> acceptor, const StreamTarget& target)
    : acceptor_(std::move(acceptor)), target_(target) {}
Listener::~Listener() = default;
void Listener::pause() {
  acceptor_->pause();
}
void Listener::resume() {
  acceptor_->resume();
}
void Listener::close() {
  acceptor_->close();
}
bool Listener::is_open() const {
  return acceptor_->is_open();
}
std::uint64_t Listener::strangers() const {
  return acceptor_->strangers();
}

ListenerId Listener::next_id(Network& network) {
  return ++network.parts_->last_listener;
}

std::shared_ptr<Acceptor> Listener::make_acceptor(Network& network, const StreamTarget& target,
                                                  OnClient on_client) {
  Network::Parts& parts = *network.parts_;
  // Where open_stream() fails the socket goes with it, and the client sees the end of its stream.
  auto deliver = [weak = std::weak_ptr(network.parts_), target,
                  on_client = std::move(on_client)](Acceptor::Protocol::socket client) {
    const auto alive = weak.lock();
    if (alive == nullptr) return;
    if (on_client) {
      if (!alive->shut_down) on_client(std::move(client));
      return;
    }
    if (const auto opened = alive->open_stream(std::move(client), target);
        !opened.ok() && alive->config.log) {
      alive->config.log(
          {base::LogLevel::kWarning, base::LogSource::kNetwork, opened.error().message});
    }
  };
  auto acceptor = std::make_shared<Acceptor>(*parts.config.loop, deliver);
  std::erase_if(parts.acceptors, [](const auto& weak) { return weak.expired(); });
  parts.acceptors.push_back(acceptor);
  return acceptor;
}

base::RandomSource& Listener::random_of(Network& network) {
  return *network.parts_->config.random;
}

asio::io_context& Listener::loop_of(Network& network) {
  return *network.parts_->config.loop;
}

base::Result<std::unique_ptr<PipeListener>> PipeListener::create(Network& network,
                                                                 const Options& options) {
  StreamTarget target;
  target.source = network.addresses().pipe;
  target.guest_port = options.guest_port;
  target.listener = next_id(network);
  auto acceptor = make_acceptor(network, target, options.on_client);
  acceptor->set_admit(is_this_process);
  const std::string host = random_name(random_of(network));
  std::unique_ptr<PipeListener> listener(new PipeListener(acceptor, target, host));
  const asio::local::stream_protocol::endpoint endpoint('\0' + listener->abstract_name());
  if (auto listening = acceptor->listen(endpoint, options.backlog); !listening.ok()) {
    return at_address(listening.error(), "the abstract Unix socket " + host);
  }
  if (!options.paused) acceptor->resume();
  return listener;
}

PipeListener::PipeListener(std::shared_ptr<Acceptor> acceptor, const StreamTarget& target,
                           std::string host)
    : Listener(std::move(acceptor), target), host_(std::move(host)) {}

std::string PipeListener::abstract_name() const {
  // libpq, UNIXSOCK_PATH: "<host>/.s.PGSQL.<port>", and '@' stands for the leading NUL.
  return host_.substr(1) + "/.s.PGSQL." + std::to_string(port());
}

base::Result<std::unique_ptr<LoopbackListener>> LoopbackListener::create(Network& network,
                                                                         const Options& options) {
  std::error_code error;
  const asio::ip::address address = asio::ip::make_address(options.address, error);
  if (error) {
    return Error{ErrorCode::kInvalidArgument,
                 "listen on '" + options.address + "': not an IP address"};
  }
  StreamTarget target;
  target.source = network.addresses().gateway;
  target.guest_port = options.guest_port;
  target.listener = next_id(network);
  auto acceptor = make_acceptor(network, target, {});
  // What the guest sends has been put together by its own TCP: holding it back only adds delay.
  acceptor->set_admit([](Acceptor::Protocol::socket& client) {
    std::error_code ignored;
    client.set_option(asio::ip::tcp::no_delay(true), ignored);
    return true;
  });
  const asio::ip::tcp::endpoint endpoint(address, options.port);
  if (auto listening = acceptor->listen(endpoint, options.backlog); !listening.ok()) {
    return at_address(listening.error(), options.address + " port " + std::to_string(options.port));
  }
  // The generic endpoint has the bytes of the address that the kernel chose.
  asio::ip::tcp::endpoint actual(endpoint.protocol(), 0);
  const Acceptor::Protocol::endpoint bound = acceptor->local_endpoint();
  actual.resize(bound.size());
  std::memcpy(actual.data(), bound.data(), bound.size());
  std::unique_ptr<LoopbackListener> listener(
      new LoopbackListener(acceptor, target, address.to_string(), actual.port()));
  if (!options.paused) acceptor->resume();
  return listener;
}

LoopbackListener::LoopbackListener(std::shared_ptr<Acceptor> acceptor, const StreamTarget& target,
                                   std::string address, std::uint16_t port)
    : Listener(std::move(acceptor), target), address_(std::move(address)), port_(port) {}

base::Result<std::unique_ptr<FolderListener>> FolderListener::create(Network& network,
                                                                     const Options& options) {
  const std::string path = options.folder + "/.s.PGSQL." + std::to_string(options.port);
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return Error{ErrorCode::kInvalidArgument,
                 "listen on '" + path + "': the path is too long for a Unix socket"};
  }
  StreamTarget target;
  target.source = network.addresses().gateway;
  target.guest_port = options.guest_port;
  target.listener = next_id(network);
  auto acceptor = make_acceptor(network, target, {});
  const asio::local::stream_protocol::endpoint endpoint(path);
  auto listening = acceptor->listen(endpoint, options.backlog);
  if (!listening.ok() && listening.error().code == ErrorCode::kAlreadyExists &&
      inode_of(path) != 0 && is_abandoned(loop_of(network), endpoint)) {
    ::unlink(path.c_str());
    listening = acceptor->listen(endpoint, options.backlog);
  }
  if (!listening.ok()) return at_address(listening.error(), path);
  acceptor->resume();
  return std::unique_ptr<FolderListener>(new FolderListener(acceptor, target, path));
}

FolderListener::FolderListener(std::shared_ptr<Acceptor> acceptor, const StreamTarget& target,
                               std::string path)
    : Listener(std::move(acceptor), target), path_(std::move(path)), inode_(inode_of(path_)) {}

FolderListener::~FolderListener() {
  // Another one may have taken the name since.
  if (inode_ != 0 && inode_of(path_) == inode_) ::unlink(path_.c_str());
}

}  // namespace snowglobe::net
