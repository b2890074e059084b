// tests/guestnet/tap.cc - /dev/net/tun with IFF_VNET_HDR, configured by ioctl.
#include "tests/guestnet/tap.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <system_error>
#include <unistd.h>

namespace snowglobe::net {
namespace {

// struct virtio_net_hdr of linux/virtio_net.h, written out: 10 bytes, little-endian.
constexpr std::size_t kVnetHeader = 10;
constexpr std::uint8_t kNeedsChecksum = 1;
constexpr std::uint8_t kGsoTcp4 = 1;

base::Error failure(const std::string& what) {
  return base::Error{base::ErrorCode::kUnavailable,
                     what + ": " + std::generic_category().message(errno)};
}

class ControlSocket {
 public:
  ControlSocket() : descriptor_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}
  ~ControlSocket() { ::close(descriptor_); }
  template <class Request>
  bool control(unsigned long code, Request& request) {
    return ::ioctl(descriptor_, code, &request) == 0;
  }
  bool up(const char* name) {
    ifreq request{};
    std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (!control(SIOCGIFFLAGS, request)) return false;
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    return control(SIOCSIFFLAGS, request);
  }

 private:
  int descriptor_;
};

void set_ipv4(sockaddr& to, Ipv4Address address) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(address.value);
  std::memcpy(&to, &in, sizeof in);
}

bool configure(const AddressPlan& plan) {
  ControlSocket socket;
  ifreq request{};
  std::strncpy(request.ifr_name, "tap0", IFNAMSIZ - 1);
  set_ipv4(request.ifr_addr, plan.guest);
  if (!socket.control(SIOCSIFADDR, request)) return false;
  set_ipv4(request.ifr_netmask, plan.netmask());
  if (!socket.control(SIOCSIFNETMASK, request) || !socket.up("tap0")) return false;
  rtentry route{};
  set_ipv4(route.rt_dst, Ipv4Address());
  set_ipv4(route.rt_genmask, Ipv4Address());
  set_ipv4(route.rt_gateway, plan.gateway);
  route.rt_flags = RTF_UP | RTF_GATEWAY;
  return socket.control(SIOCADDRT, route);
}

}  // namespace

base::Result<void> enter_network_namespace() {
  if (::unshare(CLONE_NEWNET) != 0) return failure("unshare(CLONE_NEWNET)");
  ControlSocket socket;
  if (!socket.up("lo")) return failure("bring lo up");
  return {};
}

base::Result<std::unique_ptr<Tap>> Tap::create(asio::io_context& loop, const AddressPlan& plan) {
  const int descriptor = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return failure("open /dev/net/tun");
  ifreq request{};
  std::strncpy(request.ifr_name, "tap0", IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(descriptor, TUNSETIFF, &request) != 0) {
    ::close(descriptor);
    return failure("TUNSETIFF");
  }
  // Only now: epoll can not be told of a descriptor that has no device yet.
  std::unique_ptr<Tap> tap(new Tap(loop, descriptor));
  if (::ioctl(descriptor, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) != 0) {
    return failure("TUNSETOFFLOAD");
  }
  if (!configure(plan)) return failure("configure tap0");
  return tap;
}

void Tap::start(base::FrameReceiver& receiver) {
  receiver_ = &receiver;
  wait();
}

void Tap::stop() {
  receiver_ = nullptr;
  std::error_code ignored;
  descriptor_.close(ignored);
}

void Tap::wait() {
  descriptor_.async_wait(asio::posix::stream_descriptor::wait_read,
                         [this](const std::error_code& error) {
                           if (error || receiver_ == nullptr) return;
                           read_all();
                           wait();
                         });
}

void Tap::read_all() {
  while (receiver_ != nullptr) {
    const ssize_t got = ::read(descriptor_.native_handle(), buffer_.data(), buffer_.size());
    if (got < static_cast<ssize_t>(kVnetHeader)) return;
    base::FrameOffload offload;
    offload.checksum_missing = (buffer_[0] & kNeedsChecksum) != 0;
    if (buffer_[1] == kGsoTcp4) {
      offload.segmentation = base::FrameOffload::Segmentation::kTcp4;
    }
    offload.header_length = base::load_le<std::uint16_t>(&buffer_[2]);
    offload.segment_size = base::load_le<std::uint16_t>(&buffer_[4]);
    offload.checksum_start = base::load_le<std::uint16_t>(&buffer_[6]);
    offload.checksum_offset = base::load_le<std::uint16_t>(&buffer_[8]);
    receiver_->on_frame(
        base::ConstBytes(buffer_).subspan(kVnetHeader, static_cast<std::size_t>(got) - kVnetHeader),
        offload);
  }
}

bool Tap::transmit(base::ConstBytes frame, const base::FrameOffload& offload) {
  std::uint8_t header[kVnetHeader] = {};
  if (offload.checksum_missing) header[0] = kNeedsChecksum;
  if (offload.segmentation == base::FrameOffload::Segmentation::kTcp4) header[1] = kGsoTcp4;
  base::store_le(header + 2, offload.header_length);
  base::store_le(header + 4, offload.segment_size);
  base::store_le(header + 6, offload.checksum_start);
  base::store_le(header + 8, offload.checksum_offset);
  const iovec pieces[2] = {{header, sizeof header},
                           {const_cast<std::uint8_t*>(frame.data()), frame.size()}};
  return ::writev(descriptor_.native_handle(), pieces, 2) > 0;  // a TAP device always takes it
}

}  // namespace snowglobe::net
