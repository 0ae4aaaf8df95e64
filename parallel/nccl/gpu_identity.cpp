#include "parallel/nccl/gpu_identity.h"

#include <cstring>
#include <fstream>
#include <map>

#include "kernels/core/error.h"
#include "parallel/host_name.h"

namespace retain {
namespace {

constexpr int64_t kField = 128;  // bytes of one text, cut off and zero-padded
constexpr int64_t kRecord = 3 * kField;

void put(uint8_t* field, const std::string& text) { text.copy(reinterpret_cast<char*>(field), kField - 1); }

std::string get(const uint8_t* field) {
  const char* text = reinterpret_cast<const char*>(field);
  return {text, strnlen(text, kField)};
}

}  // namespace

GpuIdentity local_gpu(const std::string& bus_id) {
  GpuIdentity own;
  own.host = host_name();
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::getline(boot, own.machine);
  own.bus_id = bus_id;
  return own;
}

std::vector<GpuIdentity> gather_identities(Communicator& host, const GpuIdentity& own) {
  std::vector<uint8_t> records(static_cast<std::size_t>(kRecord * host.size()));
  uint8_t* mine = records.data() + kRecord * host.rank();
  put(mine, own.host);
  put(mine + kField, own.machine);
  put(mine + 2 * kField, own.bus_id);
  const TensorView all(records.data(), DType::kUint8, {host.size(), kRecord});
  host.all_gather(all, all.slice(0, host.rank(), 1)).wait();

  std::vector<GpuIdentity> ranks;
  for (int r = 0; r < host.size(); ++r) {
    const uint8_t* record = records.data() + kRecord * r;
    ranks.push_back({get(record), get(record + kField), get(record + 2 * kField)});
  }
  return ranks;
}

std::string describe_shared_gpu(const std::vector<GpuIdentity>& ranks) {
  std::map<std::pair<std::string, std::string>, std::size_t> owners;  // (machine, bus id) -> rank
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    const std::string& machine = ranks[r].machine.empty() ? ranks[r].host : ranks[r].machine;
    const auto [owner, first] = owners.try_emplace({machine, ranks[r].bus_id}, r);
    if (first) continue;
    return concat("ranks ", owner->second, " and ", r, " of the group both use GPU ", ranks[r].bus_id, " of host ",
                  ranks[r].host, "; every rank needs a GPU of its own: start no more ranks on a host than it has GPUs ",
                  "(mpirun --map-by ppr:N:node, srun --ntasks-per-node=N) and let rank i of a host use device i");
  }
  return {};
}

}  // namespace retain
