#include "trainer/inference/scored_texts.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "trainer/inference/python_text.h"
#include "trainer/model/host_values.h"

namespace retain {

namespace {

constexpr int64_t kSequences = 4;              // of a batch: enough to fill the products of a small model
constexpr int64_t kSegmentTokens = 2048;       // computed at once, of each
constexpr int64_t kSequenceTokens = 16 << 10;  // unless a text is longer

constexpr double kNever = -std::numeric_limits<double>::infinity();

int64_t quotient_up(int64_t dividend, int64_t divisor) { return (dividend + divisor - 1) / divisor; }

int32_t known_beginning(std::optional<int32_t> beginning) {
  if (beginning) return *beginning;
  throw Error(ErrorKind::kData,
              "no document of this model begins with a token (data.end_of_document: none), so that nothing can stand "
              "before a text that has no context: give each one a context");
}

/// Whose token a target is: number `scored` of those that are scored of a text.
struct Owner {
  size_t text = 0, scored = 0;
};

/// Sequences that this rank reads at once.
struct Packed {
  HostBatch batch;
  std::vector<Owner> owners;  ///< [B, sequence]: of each token's target, where that is one
};

Packed pack(const BatchLayout& layout, std::span<const ScoredText> texts,
            std::span<const std::vector<TextPlace>> sequences) {
  Windows windows(layout.sequences * (layout.seq_len + 1));
  Packed packed;
  packed.owners.resize(static_cast<size_t>(layout.sequences * layout.seq_len));
  for (size_t b = 0; b < sequences.size(); ++b) {
    for (const TextPlace& place : sequences[b]) {
      const ScoredText& text = texts[place.text];
      for (size_t i = 0; i < text.tokens.size(); ++i) {
        const size_t in_sequence = static_cast<size_t>(place.begin) + i;
        const size_t at = b * static_cast<size_t>(layout.seq_len + 1) + in_sequence;
        windows.tokens[at] = text.tokens[i];
        windows.borders[at] = i == 0 ? Border::kIndex : i < text.first ? Border::kUnseen : Border::kNone;
        if (i < text.first) continue;
        packed.owners[b * static_cast<size_t>(layout.seq_len) + in_sequence - 1] = {place.text, i - text.first};
      }
    }
  }
  packed.batch = make_batch(layout, windows);
  return packed;
}

/// What is known of scored tokens on this rank; summed or compared over the mesh at the end.
class Tally {
 public:
  Tally(std::span<const ScoredText> texts, bool looks_whether_greedy)
      : looks_(looks_whether_greedy), log_likelihoods_(texts.size(), 0.0) {
    size_t tokens = 0;
    for (const ScoredText& text : texts) {
      begins_.push_back(tokens);
      tokens += looks_ ? text.tokens.size() - text.first : 0;
    }
    begins_.push_back(tokens);
    logits_.assign(2 * tokens, kNever);
  }

  bool looks_whether_greedy() const { return looks_; }
  void add_loss(const Owner& owner, double nats) { log_likelihoods_[owner.text] -= nats; }
  /// The largest logit of this rank's vocabulary, and the target's where it is one of those.
  void add_logits(const Owner& owner, double largest, double of_target) {
    const size_t at = 2 * (begins_[owner.text] + owner.scored);
    logits_[at] = largest;
    logits_[at + 1] = of_target;
  }

  std::vector<TextScore> finish(Communicator& host) {
    const auto all = [&](std::vector<double>& values, ReduceOp op) {
      if (values.empty()) return;
      host.all_reduce(TensorView(values.data(), DType::kFloat64, {static_cast<int64_t>(values.size())}), op).wait();
    };
    all(log_likelihoods_, ReduceOp::kSum);
    all(logits_, ReduceOp::kMax);
    std::vector<TextScore> scores;
    for (size_t i = 0; i < log_likelihoods_.size(); ++i) {
      scores.push_back({.log_likelihood = log_likelihoods_[i]});
      for (size_t token = begins_[i]; token < begins_[i + 1]; ++token)
        scores[i].greedy = scores[i].greedy && logits_[2 * token + 1] >= logits_[2 * token];
    }
    return scores;
  }

 private:
  bool looks_;
  std::vector<double> log_likelihoods_;
  std::vector<size_t> begins_;  ///< of each text in logits_
  std::vector<double> logits_;  ///< [scored tokens, 2]
};

void look_at_logits(MeshModel& on, const DeviceBatch& segment, int64_t row, int32_t target, const Owner& owner,
                    Tally& tally) {
  const Range vocab = on.model().dims().vocab;
  if (vocab.size() == 0) return;  // of a small vocabulary the last ranks of tp may have none
  const TensorView logits = on.model().logits(segment, row, 1);
  const std::vector<double> mine = download_wide(on.backend(), logits.slice(1, 0, vocab.size()));
  const bool here = target >= vocab.begin && target < vocab.end;
  tally.add_logits(owner, *std::max_element(mine.begin(), mine.end()),
                   here ? mine[static_cast<size_t>(target - vocab.begin)] : kNever);
}

void score_segment(MeshModel& on, const DeviceBatch& segment, const Packed& packed, Tally& tally) {
  const BatchShape& shape = segment.shape;
  const int64_t sequence = static_cast<int64_t>(packed.owners.size()) / shape.sequences;
  const std::vector<double> losses = download_wide(on.backend(), on.model().loss(segment));
  for (int64_t row = 0; row < shape.rows(); ++row) {
    const int32_t target = packed.batch.targets[static_cast<size_t>(segment.segment * shape.rows() + row)];
    if (target < 0) continue;
    const int64_t at = row / shape.tokens * sequence + segment.position_offset + row % shape.tokens;
    const Owner& owner = packed.owners[static_cast<size_t>(at)];
    if (on.mesh().at().tp == 0) tally.add_loss(owner, losses[static_cast<size_t>(row)]);
    if (tally.looks_whether_greedy()) look_at_logits(on, segment, row, target, owner, tally);
  }
}

}  // namespace

ScoredText encode_pair(const Tokenizer& tokenizer, std::string context, std::string continuation,
                       std::optional<int32_t> beginning) {
  const size_t end = without_spaces_at_end(context).size();
  continuation.insert(0, context, end);
  context.resize(end);
  const std::string whole = context + continuation;
  ScoredText text =
      context.empty() ? encode_document(tokenizer, whole, beginning) : ScoredText{tokenizer.encode(whole)};
  if (text.tokens.size() < 2) {
    throw Error(ErrorKind::kData, concat(in_quotes(whole),
                                         " is too short to this tokenizer: no token of it has one before "
                                         "it, so that nothing can be scored; make its context longer"));
  }
  if (context.empty()) return text;
  text.first = std::min(tokenizer.encode(context).size(), text.tokens.size() - 1);  // something is left to be scored
  text.first = std::max<size_t>(text.first, 1);
  return text;
}

ScoredText encode_document(const Tokenizer& tokenizer, const std::string& text, std::optional<int32_t> beginning) {
  ScoredText document{.tokens = tokenizer.encode(text)};
  document.tokens.insert(document.tokens.begin(), known_beginning(beginning));
  return document;
}

std::vector<std::vector<TextPlace>> pack_texts(std::span<const ScoredText> texts, int64_t sequence_tokens) {
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::ranges::greater{}, [&](size_t i) { return texts[i].tokens.size(); });
  std::vector<std::vector<TextPlace>> sequences;
  int64_t used = sequence_tokens;
  for (const size_t i : order) {
    const auto size = static_cast<int64_t>(texts[i].tokens.size());
    RETAIN_CHECK(size <= sequence_tokens, "a text of ", size, " tokens in ", sequence_tokens);
    if (used + size > sequence_tokens) {
      sequences.emplace_back();
      used = 0;
    }
    sequences.back().push_back({.text = i, .begin = used});
    used += size;
  }
  return sequences;
}

BatchShape shape_for(std::span<const ScoredText> texts, const MeshShape& mesh) {
  int64_t all = 0, longest = 1;
  for (const ScoredText& text : texts) {
    const auto size = static_cast<int64_t>(text.tokens.size());
    all += size;
    longest = std::max(longest, size);
  }
  // A sequence is left with less room than the longest needs: so many are enough.
  const int64_t wanted = longest + std::min(kSequenceTokens, quotient_up(all, kSequences * mesh.dp));
  const int64_t tokens = quotient_up(std::min(wanted, kSegmentTokens), mesh.cp);
  BatchShape shape{.tokens = tokens, .parts = mesh.cp, .segment_count = quotient_up(wanted, tokens * mesh.cp)};
  const auto sequences = static_cast<int64_t>(pack_texts(texts, shape.segment_count * shape.segment_tokens()).size());
  shape.sequences = std::clamp<int64_t>(quotient_up(sequences, mesh.dp), 1, kSequences);
  return shape;
}

std::vector<TextScore> score_texts(MeshModel& on, std::span<const ScoredText> texts, RetentionForm form,
                                   bool looks_whether_greedy) {
  const MeshShape mesh = on.mesh().shape();
  const MeshCoordinate at = on.mesh().at();
  const BatchShape& shape = on.model().dims().batch;
  const BatchLayout layout{.sequences = shape.sequences,
                           .seq_len = shape.segment_count * shape.segment_tokens(),
                           .vocab_size = on.model().dims().model.vocab_size,
                           .parts = mesh.cp,
                           .part = at.cp,
                           .segment_tokens = shape.segment_tokens()};
  const std::vector<std::vector<TextPlace>> sequences = pack_texts(texts, layout.seq_len);
  const auto at_once = static_cast<size_t>(shape.sequences), stride = at_once * static_cast<size_t>(mesh.dp);
  Tally tally(texts, looks_whether_greedy);
  for (size_t begin = static_cast<size_t>(at.dp) * at_once; begin < sequences.size(); begin += stride) {
    const std::span mine = std::span(sequences).subspan(begin, std::min(at_once, sequences.size() - begin));
    const Packed packed = pack(layout, texts, mine);
    const DeviceBatch batch = upload_batch(on.backend(), packed.batch, on.batch());
    for (int64_t s = 0; s < shape.segment_count; ++s) {
      on.model().forward(batch.at_segment(s), form);
      score_segment(on, batch.at_segment(s), packed, tally);
    }
  }
  return tally.finish(on.mesh().host());
}

}  // namespace retain
