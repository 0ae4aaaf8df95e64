#include "parallel/health/health_network.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <string_view>

#include "parallel/host_name.h"

namespace retain {

namespace {

constexpr int kArity = 4;
// Whatever else arrives does not keep the watchdog from its work.
constexpr int kMostJunk = 1000;

template <class T>
std::vector<T> gather(Communicator& host, const T& mine) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto bytes = static_cast<int64_t>(sizeof(T));
  std::vector<T> all(static_cast<std::size_t>(host.size()));
  all[static_cast<std::size_t>(host.rank())] = mine;
  const TensorView out(all.data(), DType::kUint8, {bytes * host.size()});
  host.all_gather(out, out.slice(0, host.rank() * bytes, bytes)).wait();
  return all;
}

/// What ranks tell each other first. The secret of rank 0 is that of all.
struct Greeting {
  uint64_t machine = 0;
  std::array<uint8_t, 16> secret{};
};

/// The same for processes that see each other: a kernel, its processes and its network.
uint64_t machine_id() {
  std::string all = host_name();
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::string line;
  if (std::getline(boot, line)) all += line;
  for (const char* const name : {"/proc/self/ns/net", "/proc/self/ns/pid"}) {
    std::array<char, 64> link{};
    if (::readlink(name, link.data(), link.size() - 1) > 0) all += link.data();
  }
  return std::hash<std::string>()(all);
}

/// Of the network devices that lead to other machines, in network order.
std::vector<uint32_t> host_addresses() {
  std::vector<uint32_t> addresses;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return addresses;
  for (const ifaddrs* device = all; device; device = device->ifa_next) {
    if (!device->ifa_addr || device->ifa_addr->sa_family != AF_INET) continue;
    if ((device->ifa_flags & IFF_UP) == 0 || (device->ifa_flags & IFF_LOOPBACK) != 0) continue;
    const std::string_view name = device->ifa_name;
    if (name.starts_with("docker") || name.starts_with("virbr")) continue;  // the same on every machine
    sockaddr_in address{};
    std::memcpy(&address, device->ifa_addr, sizeof(address));
    addresses.push_back(address.sin_addr.s_addr);
  }
  ::freeifaddrs(all);
  return addresses;
}

sockaddr_in internet_address(uint32_t address, uint16_t port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = address;
  to.sin_port = port;
  return to;
}

}  // namespace

TreePlace tree_place(int rank, int ranks) {
  TreePlace place{.parent = rank == 0 ? -1 : (rank - 1) / kArity, .children = {}};
  for (int64_t child = int64_t{kArity} * rank + 1; child <= int64_t{kArity} * rank + kArity && child < ranks; ++child)
    place.children.push_back(static_cast<int>(child));
  return place;
}

HealthNetwork::HealthNetwork(Communicator& host) : rank_(host.rank()) {
  Greeting greeting{.machine = machine_id()};
  if (::getrandom(greeting.secret.data(), greeting.secret.size(), 0) != std::ssize(greeting.secret))
    throw Error(ErrorKind::kInternal, "the system has no random numbers (getrandom)");
  const std::vector<Greeting> all = gather(host, greeting);
  secret_ = all.front().secret;
  const bool one = std::ranges::all_of(all, [&](const Greeting& other) { return other.machine == greeting.machine; });
  Peer mine;
  mine.machine = greeting.machine;
  mine.host = host_name();
  if (one) open(htonl(INADDR_LOOPBACK), mine);
  if (!one) {
    for (const uint32_t address : host_addresses()) open(address, mine);
  }
  peers_ = gather(host, mine);
}

HealthNetwork::~HealthNetwork() {
  for (const pollfd& socket : sockets_) ::close(socket.fd);
}

void HealthNetwork::open(uint32_t address, Peer& mine) {
  if (mine.endpoints == kMostEndpoints) return;
  const int descriptor = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return;
  sockaddr_in at = internet_address(address, 0);
  socklen_t length = sizeof(at);
  if (::bind(descriptor, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0 ||
      ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&at), &length) != 0) {
    ::close(descriptor);
    return;
  }
  sockets_.push_back({.fd = descriptor, .events = POLLIN, .revents = 0});
  mine.at[static_cast<std::size_t>(mine.endpoints++)] = {address, at.sin_port};
}

void HealthNetwork::send(int to, HealthMessage message) {
  message.secret = secret_;
  message.from = rank_;
  message.to = to;
  const auto send_over = [&](const pollfd& socket, const sockaddr_in& address) {
    static_cast<void>(::sendto(socket.fd, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL,
                               reinterpret_cast<const sockaddr*>(&address), sizeof(address)));
  };
  if (const auto known = heard_.find(to); known != heard_.end())
    return send_over(sockets_[known->second.first], known->second.second);
  const Peer& peer = peers_[index(to)];
  for (const pollfd& socket : sockets_) {
    for (int i = 0; i < peer.endpoints; ++i) {
      const Endpoint& at = peer.at[static_cast<std::size_t>(i)];
      send_over(socket, internet_address(at.address, at.port));
    }
  }
}

std::optional<HealthMessage> HealthNetwork::receive() {
  for (std::size_t i = 0; i < sockets_.size(); ++i) {
    for (int junk = 0; junk < kMostJunk; ++junk) {
      HealthMessage message;
      sockaddr_in from{};
      socklen_t length = sizeof(from);
      const ssize_t bytes = ::recvfrom(sockets_[i].fd, &message, sizeof(message), MSG_DONTWAIT | MSG_TRUNC,
                                       reinterpret_cast<sockaddr*>(&from), &length);
      if (bytes < 0) break;
      if (bytes != ssize_t{sizeof(message)} || message.secret != secret_ || message.to != rank_) continue;
      if (message.from < 0 || message.from >= ranks()) continue;
      heard_.insert_or_assign(message.from, std::pair(i, from));
      return message;
    }
  }
  return std::nullopt;
}

void HealthNetwork::await(int milliseconds) {
  static_cast<void>(::poll(sockets_.data(), static_cast<nfds_t>(sockets_.size()), milliseconds));
}

std::string HealthNetwork::address_of(int rank) const {
  const Peer& peer = peers_[index(rank)];
  if (peer.endpoints == 0) return peer.host.text() + " (no address of IPv4)";
  std::array<char, INET_ADDRSTRLEN> text{};
  const in_addr address{peer.at[0].address};
  ::inet_ntop(AF_INET, &address, text.data(), text.size());
  return concat(peer.host.text(), " (", text.data(), ":", ntohs(peer.at[0].port), ")");
}

}  // namespace retain
