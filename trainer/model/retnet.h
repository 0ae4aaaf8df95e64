// The whole model: embedding, blocks, final norm, head. Holds views of the parameters and owns the activations, which
// are planned once for the given dimensions; what training keeps of every block, dims.recompute says.
#pragma once

#include <functional>
#include <vector>

#include "trainer/model/block.h"
#include "trainer/model/embedding.h"
#include "trainer/model/loss.h"
#include "trainer/model/sequence_states.h"

namespace retain {

class RetNet {
 public:
  /// What the layers of a model declare.
  static DeclaredModel declare(const ModelConfig& model);
  /// Bytes of what one layer remembers of the sequences of a micro-batch.
  static int64_t state_bytes(const Dimensions& dims);
  /// Bytes of the activations, by the code that takes them.
  static int64_t memory_bytes(const Dimensions& dims, Residency residency) {
    const MemoryPlan memory = plan(dims, residency);
    return memory.own_bytes + memory.shared_bytes;
  }

  /// Reserves the backend's scratch too. What is given outlives the model.
  RetNet(Backend& backend, TensorParallel& tp, ContextParallel& cp, const ParameterStore& parameters,
         const Dimensions& dims, Residency residency);

  const Dimensions& dims() const { return dims_; }
  /// Writes the rotation table for a segment that begins at this position (the constructor writes it for the cp rank).
  void set_position_offset(int64_t offset) { layers_.tables.set_position_offset(backend_, offset); }
  /// Chunks of rows that the ranks of tp exchange, of which the sizes were given one (dims.tp_chunks): of the next
  /// forward, the same on all ranks of tp.
  void set_tp_chunks(int64_t chunks) { rows_.set_chunks(chunks); }
  int64_t tp_chunks() const { return rows_.chunks(); }
  /// From here on every forward shows what it adds to the stream: of the embedding (0) and of each block (1 + its
  /// layer), this rank's own rows, part by part [rows,d]; padding is zero. An empty look sees nothing.
  using Look = std::function<void(size_t place, const TensorView& rows)>;
  void set_look(Look look) { look_ = std::move(look); }
  /// From here on every forward of a sequence's last segment leaves what each layer has retained of it in `memory`
  /// (take_state), one layer after the other, and shows it. An empty look sees nothing.
  using StateLook = std::function<void(size_t layer, const TensorView& state)>;
  void set_state_look(const TensorView& memory, StateLook look) {
    seen_state_ = memory;
    state_look_ = std::move(look);
  }
  /// Memory of what a layer remembers of a sequence.
  TensorView take_state(Arena& arena, int64_t layer) const {
    return layers_.blocks[static_cast<size_t>(layer)].mixer().take_state(arena, dims_);
  }

  // A batch is one segment. Where there are several, forward() goes through them in order, each leaving its states to
  // the next, and backward through them in the reverse order, each after repeat_forward() but for the last, of which
  // everything is still there.

  /// The normed stream of every token, [n,d]: what the head reads. Weights that other replicas updated are waited for
  /// where they are read. `states` are of a caller that continues sequences by itself.
  TensorView forward(const DeviceBatch& batch, RetentionForm form, const CarriedStates* states = nullptr);
  TensorView repeat_forward(const DeviceBatch& batch);
  /// Loss of each token [n] (0 where ignored) after forward().
  TensorView loss(const DeviceBatch& batch);
  /// Loss of each token [n]; every parameter's gradient = or += scale × d(sum of losses), scale float64 [1] or
  /// absent: 1. After forward() in the same form. `completed`, if any, is called part by part of the model, when the
  /// gradients before that place of the flat order have been queued to the last term; at the end all.
  TensorView loss_and_backward(const DeviceBatch& batch, const TensorView& scale, GradientWrite gradients,
                               RetentionForm form = RetentionForm::kChunkwise,
                               const std::function<void(int64_t flat_end)>& completed = {});
  /// Logits of this rank's vocabulary columns for rows [begin, begin + count) of the last forward(); count <=
  /// logits_rows.
  TensorView logits(const DeviceBatch& batch, int64_t begin, int64_t count);

 private:
  // What a model is without a device: the same object declares, plans and computes. Mixers refer to the tables.
  struct Layers {
    RetentionTables tables;
    Embedding embedding;
    std::vector<Block> blocks;
    StreamNorm final_norm;
    LossHead head;
    SequenceStates states;
    TensorView x0;    ///< compute [padded_rows,d]: the embedded tokens
    TensorView dx;    ///< compute [padded_rows,d]: gradient of the stream; training only
    TensorView loss;  ///< accumulate [n]: of each token

    Layers(const Declarations& declare, const ModelConfig& model);
    Layers(const Layers&) = delete;
    Layers& operator=(const Layers&) = delete;
    /// `shared`: by the blocks, one after the other.
    void take_memory(Arena& own, Arena& shared, const Dimensions& dims, Residency residency);
  };
  struct MemoryPlan {
    int64_t own_bytes = 0, shared_bytes = 0;
  };
  static MemoryPlan plan(const Dimensions& dims, Residency residency);

  Pass pass(const DeviceBatch& batch, RetentionForm form) const;
  TensorView run_forward(const Pass& pass);
  Range part(size_t i) const { return parameters_.layout().parts[i]; }
  void show(size_t place, const TensorView& branch) const;
  TensorView normed() const { return rows_.real(layers_.final_norm.u()); }

  Backend& backend_;
  TensorParallel& tp_;
  ContextParallel& cp_;
  const ParameterStore& parameters_;
  Dimensions dims_;
  SequenceParallel rows_;
  Buffer own_, shared_;
  DeclaredModel declared_;
  Layers layers_;
  Look look_;
  TensorView seen_state_;
  StateLook state_look_;
  std::vector<TensorView> summed_gradients_;  ///< those that no matrix product writes: every backward adds to them
};

}  // namespace retain
