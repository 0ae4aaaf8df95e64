// What ranks exchange: whether they can, how fast, and how far their clocks are apart.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "launch/doctor/finding.h"
#include "launch/doctor/optional_json.h"
#include "parallel/mesh.h"

namespace retain::checkup {

struct MpiFacts {
  std::string thread_level;  ///< mpi_thread_level(); empty without a launcher
  std::string launcher;      ///< "mpirun", "srun", or empty
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MpiFacts, thread_level, launcher)

MpiFacts probe_mpi();
Findings judge_mpi(const ByRank<MpiFacts>& ranks, const Hosts& hosts);

/// Of the clock of a machine, seen from rank 0 in the shortest of several round trips.
struct ClockReading {
  double ahead_seconds = 0;       ///< of rank 0's
  double round_trip_seconds = 0;  ///< the reading is right to half of it
};
using Clock = std::function<double()>;  ///< seconds since 1970
/// Of one rank of each machine but rank 0's, on rank 0. Collective over `host`.
ByRank<ClockReading> read_clocks(Communicator& host, const Hosts& hosts, const Clock& clock);
Findings judge_clocks(const ByRank<ClockReading>& ranks, const Hosts& hosts);

struct ExchangeFacts {
  std::string communicator;   ///< "nccl", "mpi", "self"
  double set_up_seconds = 0;  ///< of the group of all ranks
  double bus_gigabytes = 0;   ///< a second, of an all-reduce among all (retain bench collectives)
  double neighbour_gigabytes =
      0;            ///< a second, to the next rank while every other pair does the same; 0: the last rank
  int nvlinks = 0;  ///< of the rank's GPU, that are up
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ExchangeFacts, communicator, set_up_seconds, bus_gigabytes, neighbour_gigabytes,
                                   nvlinks)

/// Collective over the group of all ranks, whose tensors the backend holds.
ExchangeFacts probe_exchange(Backend& backend, Communicator& world, Communicator& host);
Findings judge_exchange(const ByRank<ExchangeFacts>& ranks, const Hosts& hosts);

}  // namespace retain::checkup
