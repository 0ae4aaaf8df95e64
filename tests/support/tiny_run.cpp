#include "tests/support/tiny_run.h"

#include <cstdlib>
#include <filesystem>

namespace retain::test {

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = std::filesystem::temp_directory_path() / "retain-test-XXXXXX";
  RETAIN_CHECK(mkdtemp(pattern.data()), "cannot make ", pattern);
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
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
