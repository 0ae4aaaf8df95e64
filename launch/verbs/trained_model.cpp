#include "launch/verbs/trained_model.h"

#include <iostream>

#include "launch/config/saved.h"
#include "trainer/checkpoint/trainer_state.h"

namespace retain {

TrainedModel load_trained_model(const std::string& path) {
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& line) {
    std::cerr << "retain: " << line << "\n";
    warnings.push_back(line);
  };
  const auto alone = make_self_communicator();
  const Checkpoint checkpoint = open_verified(*alone, path, warn);
  const SavedConfig saved = read_saved_config(checkpoint.state().config_text);
  for (const auto& [key, value] : saved.unknown) {
    const std::string what =
        concat(key, " = ", value, " in ", checkpoint.path().string(), " is not known to this release");
    if (key.starts_with("model."))
      throw Error(ErrorKind::kData, concat(what, ": use the release that wrote it (", checkpoint.state().build, ")"));
    warn(what);
  }

  TrainedModel model{.used = used_checkpoint(checkpoint, warnings),
                     .config = saved.config,
                     .target = {},
                     .backend = nullptr,
                     .parameters = nullptr};
  tell(model.used);

  // The device is this machine's, whatever trained the model; float64 runs stay float64.
  Config here = model.config;
  here.device = DeviceKind::kAuto;
  if (here.precision == Precision::kFp64) here.device = DeviceKind::kCpu;
  if (here.precision == Precision::kBf16 && cuda_device_count() == 0) here.precision = Precision::kAuto;
  model.target = resolve_target(here, cuda_device_count() > 0, threads_per_rank({}));
  model.backend = make_backend(model.target, 0);
  const ParameterLayout layout(model.config.model, 0, 1, 1);
  model.parameters = std::make_unique<ParameterStore>(*model.backend, layout, model.target.compute, ReplicaShare(),
                                                      Residency::kInference);
  load_weights(checkpoint, *model.parameters);
  return model;
}

}  // namespace retain
