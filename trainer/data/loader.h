// The batches of a run: training samples in their order, and evaluation windows in the order on disk. What a step reads
// is a function of (seed, step) alone: the mesh decides only who reads which part of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "parallel/topology.h"
#include "trainer/config.h"
#include "trainer/data/batch_order.h"
#include "trainer/data/dealing.h"
#include "trainer/data/host_batch.h"
#include "trainer/data/prefetcher.h"

namespace retain {

class TrainLoader {
 public:
  /// Opens data.train. batch_tokens is a multiple of micro_batch_tokens, at least dp of these; that one of seq_len, and
  /// seq_len of cp. segment_tokens: see BatchLayout.
  /// Throws Error(kMissingInput), Error(kData) when a set is damaged or shorter than one window, Error(kConfig).
  TrainLoader(const DataConfig& data, const TrainConfig& train, int64_t vocab_size, uint64_t seed,
              const MeshShape& shape, const MeshCoordinate& at, int64_t segment_tokens = 0);
  /// The same on all ranks of `host` together (open_documents). Collective. `activity`: see Prefetcher.
  TrainLoader(const DataConfig& data, const TrainConfig& train, int64_t vocab_size, uint64_t seed,
              const MeshShape& shape, const MeshCoordinate& at, int64_t segment_tokens, Communicator& host,
              Activity* activity = nullptr);

  int64_t micro_batches() const { return dealing_.of(at_.dp); }         ///< of a step, on this rank
  int64_t rounds() const { return dealing_.rounds(); }                  ///< the most micro-batches of one rank
  int64_t sequences() const { return layout_.sequences; }               ///< B of a micro-batch
  int64_t tokens() const { return layout_.segment() / layout_.parts; }  ///< T: of a sequence's segment, on this rank

  /// Micro-batch [0, micro_batches()) of this rank in the step that begins with this sample of the run: samples
  /// first_sample + (micro_batch · dp + dp_rank) · B + b. Prefetched one step ahead as long as batches are loaded in
  /// order. Throws Error(kData), Error(kIo).
  HostBatch load_from(int64_t first_sample, int64_t micro_batch);
  /// The same of step 0, 1, … where all steps are of this batch.
  HostBatch load(int64_t step, int64_t micro_batch);
  int64_t samples() const { return dealing_.micro_batches * layout_.sequences; }  ///< of a step, on all ranks
  /// The number in the run of sample b of that micro-batch …
  int64_t sample_number(int64_t first_sample, int64_t micro_batch, int64_t b) const {
    return first_sample + (micro_batch * shape_.dp + at_.dp) * layout_.sequences + b;
  }
  /// … and what a sample of the run is: which window of which set of data.train.
  Sample sample(int64_t number) const { return order_.at(number); }
  const Documents& set(int64_t source) const { return sets_[static_cast<size_t>(source)]; }
  int64_t seq_len() const { return layout_.seq_len; }
  int cp() const { return layout_.parts; }

  /// That whoever loads has waited for batches so far.
  double waited_seconds() const { return prefetcher_.waited_seconds(); }

  /// With which documents end and begin, unless a set shows another.
  std::optional<int32_t> end_token() const { return end_token_; }
  /// That of data.tokenizer.
  const std::shared_ptr<const TokenizerFacts>& tokenizer() const { return tokenizer_; }
  /// What Documents::look_at() finds in the sets. Throws Error(kData) besides when one has nothing to predict.
  std::vector<SetNote> look_at() const;

  /// How the sets are blended; it may be set before the first batch is loaded.
  DataOrder order() const { return order_.order(); }
  void set_order(DataOrder order) { order_.set_order(order); }

  /// A hash of what the sets hold and of the proportions of their weights, and of nothing else.
  uint64_t contents() const { return contents_; }

 private:
  // A batch by a number of its own, for the prefetcher: that of its step's first sample and of the micro-batch in one.
  int64_t number_of(int64_t first_sample, int64_t micro_batch) const {
    return first_sample * micro_batches() + micro_batch;
  }
  int64_t number_after(int64_t number) const;
  HostBatch make(int64_t number) const;

  std::shared_ptr<const TokenizerFacts> tokenizer_;
  BatchLayout layout_;
  MeshShape shape_;
  MeshCoordinate at_;
  std::vector<Documents> sets_;
  std::optional<int32_t> end_token_;
  BatchOrder order_;
  Dealing dealing_;
  uint64_t contents_ = 0;
  Prefetcher prefetcher_;  ///< last: its thread uses the rest
};

/// The windows of one set in order, each with an empty state at its start, the short last one included; shared out over
/// the dp replicas. All batches have one shape: what is missing is padded with ignored targets.
class EvalWindows {
 public:
  /// Reads about max_tokens (rounded up to whole windows); 0 = all. `sequences` is B of a batch. end_token_of_run: see
  /// Documents. segment_tokens: see BatchLayout. Windows begin `stride` tokens apart, at most seq_len, which 0 stands
  /// for: of all but the first only the targets count that no window before has, the last `stride`.
  EvalWindows(TokenSet set, const DataConfig& data, int64_t vocab_size, int64_t sequences, const MeshShape& shape,
              const MeshCoordinate& at, int64_t max_tokens = 0, std::optional<int32_t> end_token_of_run = std::nullopt,
              int64_t segment_tokens = 0, int64_t stride = 0);
  EvalWindows(Documents documents, const DataConfig& data, int64_t vocab_size, int64_t sequences,
              const MeshShape& shape, const MeshCoordinate& at, int64_t max_tokens, int64_t segment_tokens,
              int64_t stride = 0);

  const Documents& documents() const { return documents_; }
  /// What Documents::look_at() finds. Throws Error(kData) besides when nothing that is read can be predicted.
  std::vector<SetNote> look_at() const;
  EvalWindows first_batch() const;              ///< those of batch 0 alone
  int64_t count() const;                        ///< batches, the same on every rank
  int64_t windows() const { return windows_; }  ///< of all replicas
  int64_t window_tokens() const { return layout_.seq_len; }
  /// Batch i of this replica: windows (i · dp + dp_rank) · B + b.
  HostBatch load(int64_t i) const;

 private:
  Documents documents_;
  BatchLayout layout_;
  MeshShape shape_;
  MeshCoordinate at_;
  int64_t stride_ = 0, windows_ = 0;
};

}  // namespace retain
