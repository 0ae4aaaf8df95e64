// The device and the ranks of this process, owned in the order of construction: communicators, backend, mesh.
// Everything else of a run is built on a session and destroyed before it.
#pragma once

#include <memory>
#include <optional>

#include "kernels/backend.h"
#include "kernels/energy_meter.h"
#include "launch/command_line/command_line.h"
#include "launch/config/reader.h"
#include "parallel/compute_clock.h"
#include "parallel/mesh.h"
#include "parallel/mpi/mpi_environment.h"
#include "trainer/plan/plan.h"

namespace retain {

/// The ranks of the launcher over host memory; one rank alone without a launcher (mpi == nullptr).
/// Tells `activity`, if that is given, of its waits.
std::unique_ptr<Communicator> make_host_communicator(const MpiEnvironment* mpi, Activity* activity = nullptr);

/// Where a rank stands among those of its machine.
struct LocalPlace {
  int rank = 0, ranks = 1;
  int processors = 0;  ///< that one or another of these ranks may run on; 0: those of this process
};
LocalPlace local_place(const MpiEnvironment* mpi);

/// threads_of_rank() for a rank at this place.
int threads_per_rank(const LocalPlace& place);

/// resolve_target(), the same on every rank; `gpu_available` is this rank's. Collective over `host`. Throws
/// Error(kDevice) on every rank when device: auto finds a GPU for some of them only.
Target agree_on_target(Communicator& host, const Config& config, bool gpu_available, int threads);

/// The GPU of the rank with this place on its host: its own, or the only one that is visible (a launcher that shows
/// each rank just its own). Throws Error(kDevice) when there are more ranks than GPUs.
int device_of(int local_rank);

/// The number that the host gives the GPU which is `device` among the visible ones, by what CUDA_VISIBLE_DEVICES says
/// (null: all are visible); -1 where that has no number (a UUID).
int gpu_number(int device, const char* visible_devices);

/// Expands the command's paths (launch/config/path) as the variables of rank 0 say; they are the same on every rank
/// after. Throws ConfigError(kUsage) on every rank when that cannot be done.
void expand_paths_once(Communicator& host, Command& command, const Variables& variables);

/// load_config() on rank 0; the others get its resolved text (their `source` is empty) or, as ConfigError, its error.
ParsedConfig read_config_once(Communicator& host, const std::string& path, const std::vector<std::string>& sets);

/// Throws Error(kDevice), Error(kOutOfMemory) where this process's limits are too tight for a CPU's.
std::unique_ptr<Backend> make_backend(const Target& target, int local_rank, Activity* activity = nullptr);

class Session {
 public:
  /// The mesh of a training run: NCCL on GPUs, MPI on CPUs. Collective over `host`. `activity` is what this process is
  /// at, from its first wait for others on.
  Session(const Target& target, const MeshShape& shape, const MpiEnvironment* mpi, std::unique_ptr<Communicator> host,
          Activity& activity);

  Backend& backend() { return *backend_; }
  Mesh& mesh() { return *mesh_; }
  /// Of this rank's own work, beside what the mesh waits.
  ComputeClock& clock() { return *clock_; }
  /// Of this rank's GPU; null where it has none, or the driver does not tell.
  EnergyMeter* energy() { return energy_ ? &*energy_ : nullptr; }

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<ComputeClock> clock_;
  std::unique_ptr<Mesh> mesh_;
  std::optional<EnergyMeter> energy_;
};

}  // namespace retain
