// A training run small enough for tests: a configuration over token shards of generated text, and what is compared.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "trainer/run/resume.h"
#include "trainer/trainer.h"

namespace retain::test {

/// A folder that is removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Byte tokens of pseudo-random words, in documents of different lengths, as shards `directory`/text.
void write_tiny_text(const std::string& directory, int64_t tokens = 20000);

/// 2 layers, hidden 32, 4 heads 8/16, FFN 48, 257 tokens of vocabulary; sequences of 32, 8 a step, 2 a micro-batch on
/// one replica; lr 6e-4 with 375 warm-up steps.
Config tiny_config(const std::string& directory);

/// An identity without keys, whose checkpoints are all said to hold `config`.
RunIdentity identity_of(const Config& config);

/// Buckets for such a model: one for each part of it.
inline constexpr int64_t kTinyBucket = 1000;

/// Losses of the first steps and the whole (unsharded) first gradient of every parameter, the same on every rank.
struct TinyResult {
  std::vector<double> losses, grad_norms;
  std::vector<std::vector<double>> first_gradients;  ///< one a parameter, in the layout's order, row-major, unpadded
  std::vector<std::vector<double>> weights;          ///< after the last step
};

/// Trains `steps` steps on the CPU over the ranks of the communicator (which it owns).
TinyResult train_tiny(const Config& config, DType compute, int steps, std::unique_ptr<Communicator> ranks,
                      const MakeTensorGroup& make = same_group);

/// The whole tensors of a flat buffer, put together over tp: collective over the mesh.
std::vector<std::vector<double>> gather_whole(Trainer& trainer, const TensorView& flat);

}  // namespace retain::test
