// The whole model: embedding, blocks, final norm, head. Holds views of the parameters and owns the activations, which
// are planned once for the given dimensions; training keeps every block's activations, inference one block's.
#pragma once

#include <memory>
#include <vector>

#include "trainer/model/block.h"
#include "trainer/model/embedding.h"
#include "trainer/model/loss.h"

namespace retain {

class RetNet {
 public:
  /// The activations of a model, taken from an arena.
  struct Memory {
    Embedding::Saved embedding;
    std::vector<Block::Saved> blocks;  ///< one a layer, or one for all when not training
    Block::Scratch scratch;
    LossHead::Scratch loss_scratch;
    TensorView x0;                ///< compute [n,d]: the embedded tokens
    TensorView x_final, y_final;  ///< compute [n,d]: the stream at the end and its norm
    TensorView rstd_final;        ///< accumulate [n]
    TensorView dx;                ///< compute [n,d]: gradient of the stream; training only
    TensorView loss;              ///< accumulate [n]: of each token
    TensorView rotation, log2_gamma;
  };
  static Memory take_memory(Arena& arena, const Dimensions& dims, int tp_size, Residency residency);
  /// Bytes of the activations, by the code that takes them.
  static int64_t memory_bytes(const Dimensions& dims, int tp_size, Residency residency);

  RetNet(Backend& backend, TensorParallel& tp, ContextParallel& cp, const ParameterStore& parameters,
         const Dimensions& dims, Residency residency);

  const Dimensions& dims() const { return dims_; }
  /// Writes the rotation table for a segment that begins at this position (the constructor writes it for the cp rank).
  void set_position_offset(int64_t offset);

  /// The normed stream of every token, [n,d]: what the head reads.
  TensorView forward(const DeviceBatch& batch, RetentionForm form, const CarriedStates* carried = nullptr);
  /// Loss of each token [n] (0 where ignored) after forward().
  TensorView loss(const DeviceBatch& batch);
  /// Loss of each token [n]; every parameter's gradient = or += scale × d(sum of losses). After forward() in the same
  /// form.
  TensorView loss_and_backward(const DeviceBatch& batch, double scale, GradientWrite gradients,
                               RetentionForm form = RetentionForm::kChunkwise);
  /// Logits of this rank's vocabulary columns for rows [begin, begin + count) of the last forward(); count <=
  /// logits_rows.
  TensorView logits(const DeviceBatch& batch, int64_t begin, int64_t count);

 private:
  Context context(const DeviceBatch& batch, RetentionForm form, const CarriedStates* carried) const;
  Block::Saved& saved(int64_t layer) { return memory_.blocks[memory_.blocks.size() == 1 ? 0 : layer]; }

  Backend& backend_;
  TensorParallel& tp_;
  ContextParallel& cp_;
  Dimensions dims_;
  Buffer buffer_;
  Memory memory_;
  ModelTables tables_;
  Embedding embedding_;
  std::vector<Block> blocks_;
  LossHead head_;
  TensorView final_norm_weight_, final_norm_gradient_;
  std::vector<TensorView> summed_gradients_;  ///< those that no matrix product writes: every backward adds to them
};

}  // namespace retain
