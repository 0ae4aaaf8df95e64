// Messages about the health of ranks, beside MPI and NCCL: UDP over the host network, or over the loopback device where
// all ranks are on one machine. A rank talks to its neighbours in a tree of ranks alone, however many ranks there are;
// only the end of a run is told to all. Messages carry a secret of the run, which ranks got over MPI; whatever else
// arrives is ignored. Nothing here waits or throws after the constructor. Used by one thread.
#pragma once

#include <netinet/in.h>
#include <poll.h>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/health/page.h"

namespace retain {

/// The neighbours of a rank in the tree: 4 ranks below each.
struct TreePlace {
  int parent = -1;  ///< -1: none
  std::vector<int> children;
};
TreePlace tree_place(int rank, int ranks);

struct HealthMessage {
  enum class Kind : uint8_t { kPage, kVerdict, kGoodbye };
  std::array<uint8_t, 16> secret{};
  int32_t from = 0, to = 0;
  Kind kind = Kind::kPage;
  int32_t exit_code = 0;  ///< kVerdict
  RankPage page;          ///< the sender's
  SubtreePage subtree;    ///< kPage, to the parent
  FixedText<512> text;    ///< kVerdict
};

class HealthNetwork {
 public:
  /// The ranks of `host` exchange where they can be reached. Collective.
  explicit HealthNetwork(Communicator& host);
  ~HealthNetwork();
  HealthNetwork(const HealthNetwork&) = delete;
  HealthNetwork& operator=(const HealthNetwork&) = delete;

  int rank() const { return rank_; }
  int ranks() const { return static_cast<int>(peers_.size()); }
  /// Loses the message where the network cannot take it.
  void send(int to, HealthMessage message);
  /// The next message that arrived for this rank; nothing when there is none.
  std::optional<HealthMessage> receive();
  /// Waits until a message is there, but not longer than this.
  void await(int milliseconds);

  bool on_this_machine(int rank) const { return peers_[index(rank)].machine == peers_[index(rank_)].machine; }
  /// "gpu7 (10.0.0.7:40123)": where a rank said it can be reached.
  std::string address_of(int rank) const;

 private:
  struct Endpoint {
    uint32_t address = 0;  // in network order, as the port
    uint16_t port = 0;
  };
  static constexpr int kMostEndpoints = 4;
  struct Peer {
    uint64_t machine = 0;  // of the kernel and its name spaces
    int32_t endpoints = 0;
    std::array<Endpoint, kMostEndpoints> at{};
    FixedText<64> host;
  };
  static std::size_t index(int rank) { return static_cast<std::size_t>(rank); }
  void open(uint32_t address, Peer& mine);

  int rank_ = 0;
  std::array<uint8_t, 16> secret_{};
  std::vector<Peer> peers_;
  std::vector<pollfd> sockets_;
  std::map<int, std::pair<std::size_t, sockaddr_in>> heard_;  // from which ranks: the socket, and where they are
};

}  // namespace retain
