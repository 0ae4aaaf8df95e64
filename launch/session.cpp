#include "launch/session.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <sstream>

#include "kernels/core/processors.h"
#include "kernels/core/text.h"
#include "kernels/gpu_facts.h"
#include "launch/host_memory.h"
#include "parallel/agreement.h"
#include "parallel/mpi/mpi_communicator.h"
#include "parallel/nccl/nccl_communicator.h"

namespace retain {

std::unique_ptr<Communicator> make_host_communicator(const MpiEnvironment* mpi, Activity* activity) {
  return mpi ? make_mpi_communicator(*mpi, kMpiBlockBytes, activity) : make_self_communicator();
}

LocalPlace local_place(const MpiEnvironment* mpi) {
  if (!mpi) return {};
  return {.rank = mpi->local_rank(), .ranks = mpi->local_size(), .processors = mpi->host_processors()};
}

int threads_per_rank(const LocalPlace& place) {
  ProcessorLimits limits = read_processor_limits();
  if (place.processors > 0) limits.host = place.processors;
  return threads_of_rank(limits, place.ranks);
}

Target agree_on_target(Communicator& host, const Config& config, bool gpu_available, int threads) {
  // A rank without a GPU reports itself, the others a number above all ranks: the least is the first without.
  const int32_t none = host.size();
  std::array<int32_t, 2> first = {gpu_available ? none : host.rank(), gpu_available ? host.rank() : none};
  host.all_reduce(TensorView(first.data(), DType::kInt32, {2}), ReduceOp::kMin).wait();
  const auto [first_without, first_with] = first;
  if (config.device == DeviceKind::kAuto && first_without < none && first_with < none) {
    throw SharedError(ErrorKind::kDevice,
                      concat("device: auto finds a GPU for rank ", first_with, " and none for rank ", first_without,
                             ": set device: cpu for all, or see why nvidia-smi shows ", "none on that rank's host"));
  }
  return resolve_target(config, first_with < none, threads);
}

int device_of(int local_rank) {
  const int visible = cuda_device_count();
  if (visible == 1) return 0;
  if (local_rank >= visible && visible > 0) {
    throw Error(ErrorKind::kDevice, concat("rank ", local_rank, " of this host has no GPU: ", visible,
                                           " are visible; start at most one rank a GPU"));
  }
  return local_rank;
}

int gpu_number(int device, const char* visible_devices) {
  if (!visible_devices || *visible_devices == '\0') return device;
  std::istringstream names(visible_devices);
  std::string name;
  for (int i = 0; i <= device; ++i) {
    if (!std::getline(names, name, ',')) return -1;
  }
  const bool number = !name.empty() && std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
  return number ? std::atoi(name.c_str()) : -1;
}

void expand_paths_once(Communicator& host, Command& command, const Variables& variables) {
  const std::vector<GivenPath> paths = given_paths(command);
  std::string all;  // each ended by a zero, which no path holds
  const auto expand = [&] {
    for (const GivenPath& path : paths) {
      std::string problem;
      const auto expanded = expand_path(*path.text, variables, problem);
      if (!expanded)
        throw Error(ErrorKind::kUsage, concat(path.option, ": ", problem, ", got ", in_quotes(*path.text)));
      all += *expanded + '\0';
    }
  };
  const Outcome expanded = broadcast_outcome(host, host.rank() == 0 ? attempt(expand) : Outcome{}, 0);
  if (!expanded.ok) throw ConfigError(expanded.kind, expanded.message);
  all = broadcast_text(host, all, 0);
  if (std::count(all.begin(), all.end(), '\0') != static_cast<std::ptrdiff_t>(paths.size()))
    throw Error(ErrorKind::kUsage, "the ranks were started with different arguments");
  for (size_t i = 0, begin = 0; i < paths.size(); ++i) {
    const size_t end = all.find('\0', begin);
    *paths[i].text = all.substr(begin, end - begin);
    begin = end + 1;
  }
}

ParsedConfig read_config_once(Communicator& host, const std::string& path, const std::vector<std::string>& sets) {
  const bool first = host.rank() == 0;
  ParsedConfig parsed;
  const Outcome mine = first ? attempt([&] { parsed = load_config(path, sets, host.size()); }) : Outcome{};
  const Outcome read = broadcast_outcome(host, mine, 0);
  if (!read.ok) throw ConfigError(read.kind, read.message);
  const std::string resolved = broadcast_text(host, parsed.resolved, 0);
  if (!first) parsed = {parse_config({{{"resolved.yaml", resolved}}, ""}, {}, 0).config, resolved, ""};
  return parsed;
}

std::unique_ptr<Backend> make_backend(const Target& target, int local_rank, Activity* activity) {
  if (target.device == DeviceKind::kCuda) return make_cuda_backend(device_of(local_rank), activity);
  check_address_limit(0, target.threads);
  return make_cpu_backend(target.threads, activity);
}

Session::Session(const Target& target, const MeshShape& shape, const MpiEnvironment* mpi,
                 std::unique_ptr<Communicator> host, Activity& activity) {
  const int local_rank = local_place(mpi).rank;
  backend_ = make_backend(target, local_rank, &activity);
  const MakeTensorGroup make =
      target.device == DeviceKind::kCuda
          ? make_nccl_groups(*host, device_of(local_rank), backend_->stream(), {.activity = &activity})
          : same_group;
  clock_ = std::make_unique<ComputeClock>(*backend_);
  mesh_ = std::make_unique<Mesh>(shape, std::move(host), clock_->watching(make));
  if (target.device == DeviceKind::kCuda) energy_ = find_energy_meter(cuda_bus_id(device_of(local_rank)));
}

}  // namespace retain
