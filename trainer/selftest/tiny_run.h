// A model and a text so small that training them takes a moment, and what of a training is compared: the parts of
// `selftest`, and of the tests.
#pragma once

#include <string>
#include <vector>

#include "trainer/trainer.h"

namespace retain {

/// Byte tokens of pseudo-random words, in documents of different lengths, as shards `directory`/text.
void write_tiny_text(const std::string& directory, int64_t tokens = 20000);

/// 2 layers, hidden 32, 4 heads 8/16, FFN 48, 257 tokens of vocabulary; sequences of 32, 8 a step, 2 a micro-batch on
/// one replica; lr 6e-4 with 375 warm-up steps; of the text in `directory`.
Config tiny_config(const std::string& directory);

/// Buckets for such a model: one for each part of it.
inline constexpr int64_t kTinyBucket = 1000;

/// Losses of the first steps and the whole (unsharded) first gradient of every parameter, the same on every rank.
struct TinyResult {
  std::vector<double> losses, grad_norms;
  std::vector<std::vector<double>> first_gradients;  ///< one a parameter, in the layout's order, row-major, unpadded
  std::vector<std::vector<double>> weights;          ///< after the last step
};

/// `steps` steps from the start of a run. Collective over the trainer's mesh.
TinyResult train_tiny(Trainer& trainer, int steps);

/// The whole tensors of a flat buffer, put together over tp: collective over the mesh.
std::vector<std::vector<double>> gather_whole(Trainer& trainer, const TensorView& flat);

}  // namespace retain
