#include "trainer/selftest/tiny_run.h"

#include "kernels/core/random.h"
#include "trainer/data/token_writer.h"

namespace retain {

void write_tiny_text(const std::string& directory, int64_t tokens) {
  TokenWriter writer(directory + "/text", 257);
  std::vector<int32_t> document;
  int64_t written = 0;
  for (uint64_t i = 0; written < tokens; ++i) {
    // Words of a small alphabet whose letters depend on the letter before, so that there is something to learn.
    document.clear();
    const int64_t length = 20 + static_cast<int64_t>(philox_bits(1, i) % 150);
    int32_t letter = 'a';
    for (int64_t j = 0; j + 1 < length; ++j) {
      const uint64_t r = philox_bits(2, i * 1000 + static_cast<uint64_t>(j));
      letter = r % 7 == 0 ? ' ' : static_cast<int32_t>('a' + (static_cast<uint64_t>(letter) * 5 + r % 3) % 26);
      document.push_back(letter);
    }
    document.push_back(256);
    writer.append(document);
    writer.end_document();
    written += length;
  }
  writer.finish();
}

Config tiny_config(const std::string& directory) {
  Config config;
  config.run = {.dir = directory + "/run", .seed = 7};
  config.model.layers = 2;
  config.model.hidden_size = 32;
  config.model.heads = 4;
  config.model.ffn_size = 48;
  config.model.vocab_size = 257;
  config.model.init_std = 0.1;
  config.data.train = {{.path = directory + "/text", .weight = 1}};
  config.data.seq_len = 32;
  config.train = {.tokens = 25600, .batch_tokens = 256, .micro_batch_tokens = 64, .chunk = 8};
  config.device = DeviceKind::kCpu;
  return config;
}

std::vector<std::vector<double>> gather_whole(Trainer& trainer, const TensorView& flat) {
  Backend& backend = trainer.backend();
  const ParameterLayout& layout = trainer.parameters().layout();
  std::vector<double> local(flat.elements());
  if (flat.dtype == DType::kFloat64) {
    backend.download(local.data(), flat);
  } else {
    const Buffer wide_buffer(backend, flat.elements() * 4);
    const TensorView wide(wide_buffer.data(), DType::kFloat32, {flat.elements()});
    backend.copy(wide, flat);
    std::vector<float> narrow(flat.elements());
    backend.download(narrow.data(), wide);
    local.assign(narrow.begin(), narrow.end());
  }
  // Every rank writes its boxes into zeros; boxes of one replica tile the tensor, norms are equal on all tp ranks.
  std::vector<std::vector<double>> whole;
  for (const ParameterSpec& spec : layout.parameters) {
    std::vector<double> tensor(spec.global_rows * spec.global_columns, 0.0);
    const MeshCoordinate& at = trainer.mesh().at();
    if (at.dp == 0 && at.cp == 0 && (spec.rank == 2 || at.tp == 0)) {
      for (int64_t r = 0; r < spec.real_rows; ++r) {
        for (int64_t c = 0; c < spec.columns; ++c) {
          tensor[(spec.first_row + r) * spec.global_columns + spec.first_column + c] =
              local[spec.flat_offset + r * spec.columns + c];
        }
      }
    }
    trainer.mesh()
        .host()
        .all_reduce(TensorView(tensor.data(), DType::kFloat64, {static_cast<int64_t>(tensor.size())}), ReduceOp::kSum)
        .wait();
    whole.push_back(std::move(tensor));
  }
  return whole;
}

TinyResult train_tiny(Trainer& trainer, int steps) {
  Backend& backend = trainer.backend();
  TinyResult result;
  for (int i = 0; i < steps; ++i) {
    const StepResult step = trainer.step(i, {}, [] {});
    result.losses.push_back(step.loss);
    result.grad_norms.push_back(step.grad_norm);
    if (i == 0) {
      // With ZeRO only this replica's share of the gradient is there.
      const ParameterStore& parameters = trainer.parameters();
      const int64_t elements = parameters.layout().flat_elements;
      const Buffer buffer(backend, elements * dtype_bytes(parameters.accumulate_dtype()));
      const TensorView whole(buffer.data(), parameters.accumulate_dtype(), {elements});
      for (const SharePiece& piece : trainer.reducer().share().pieces()) {
        backend.copy(piece.of_flat(whole), parameters.gradient(piece));
      }
      trainer.reducer().gather_shares(whole);
      result.first_gradients = gather_whole(trainer, whole);
    }
  }
  trainer.parameters().await_weights(0);
  result.weights = gather_whole(trainer, trainer.parameters().flat_weights());
  return result;
}

}  // namespace retain
