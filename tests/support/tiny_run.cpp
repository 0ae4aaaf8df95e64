#include "tests/support/tiny_run.h"

#include <algorithm>
#include <cmath>
#include <fstream>

namespace retain::test {

double relative_error(const std::vector<double>& got, const std::vector<double>& want) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    size += want[i] * want[i];
  }
  return std::sqrt(difference / std::max(size, 1e-300));
}

void spoil_token(const std::string& set, int64_t token) {
  std::fstream file(set + ".bin", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(token * int64_t{sizeof(uint16_t)});
  file.write("\xff\xff", sizeof(uint16_t));
}

RunIdentity identity_of(const Config& config) {
  return {.resolved_config = "", .keys = {}, .build = "test", .read_config = [config](const std::string&) {
            return SavedConfig{.config = config, .values = {}, .unknown = {}};
          }};
}

TinyResult train_tiny(const Config& config, DType compute, int steps, std::unique_ptr<Communicator> ranks,
                      const MakeTensorGroup& make) {
  const auto backend = make_cpu_backend(1);
  const MeshShape shape = config.mesh(ranks->size());
  Mesh mesh(shape, std::move(ranks), make);
  Trainer trainer(*backend, mesh, config, {.device = DeviceKind::kCpu, .compute = compute, .threads = 1}, kTinyBucket);
  return train_tiny(trainer, steps);
}

}  // namespace retain::test
