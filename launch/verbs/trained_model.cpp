#include "launch/verbs/trained_model.h"

#include <iostream>

#include "launch/config/reader.h"
#include "trainer/checkpoint/trainer_state.h"

namespace retain {

TrainedModel load_trained_model(const std::string& path) {
  const auto alone = make_self_communicator();
  const Checkpoint checkpoint =
      open_verified(*alone, path, [](const std::string& line) { std::cerr << "retain: " << line << "\n"; });

  const std::string folder = checkpoint.path().string();
  const ConfigSources saved{{{folder + "/manifest.json: config", checkpoint.state().config_text}}, folder};
  TrainedModel model{
      .config = parse_config(saved, {}, 0).config, .target = {}, .backend = nullptr, .parameters = nullptr};

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
