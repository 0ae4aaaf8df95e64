#include "trainer/numerics/replay.h"

#include <array>
#include <cstring>
#include <limits>

#include "parallel/agreement.h"
#include "trainer/numerics/naming.h"
#include "trainer/trainer.h"

namespace retain {

void Trainer::rehearse(const Step& step) {
  const Phase phase(backend_, "replay");
  const Slot& slot = slots_[step.slot];
  backend_.fill(slot.fingerprints, 0);
  MicroBatchPass pass{.rehearsal = true, .sum_of_losses = work_.scalars.slice(0, 0, 1)};  // which the step overwrites
  take_fingerprints(slot.fingerprints.slice(0, 0, 1), pass);
  train_on(step.batches.front(), pass);
}

void Trainer::take_fingerprints(const TensorView& fingerprints, MicroBatchPass& pass) {
  const auto take = [this, fingerprints](int64_t i, int64_t part, const TensorView& x) {
    backend_.fingerprint({.x = x.reshaped({1, x.elements()}),
                          .out = fingerprints.slice(1, i, 1).reshaped({2}),
                          .key = static_cast<uint64_t>(part)});
  };
  pass.look_at_losses = [take](int64_t segment, const TensorView& losses) { take(0, segment, losses); };
  pass.look = [this, take](size_t bucket) {
    take(1 + static_cast<int64_t>(bucket), 0, parameters_.bucket_gradients(bucket));
  };
}

std::optional<int64_t> Trainer::find_difference(const std::byte* fingerprints, int64_t count) {
  constexpr int64_t kBytes = sizeof(uint64_t);
  for (int64_t i = 0; i < count; ++i) {
    if (std::memcmp(fingerprints + i * kBytes, fingerprints + (count + i) * kBytes, kBytes) != 0) return i;
  }
  return std::nullopt;
}

void refuse_replay_difference(Mesh& mesh, const std::string& place, const ParameterLayout& layout, int64_t step,
                              const std::optional<int64_t>& difference) {
  constexpr int32_t kNone = std::numeric_limits<int32_t>::max();
  const int32_t mine = difference ? static_cast<int32_t>(*difference) : kNone;
  int32_t first = mine;
  mesh.host().all_reduce(TensorView(&first, DType::kInt32, {1}), ReduceOp::kMin).wait();
  if (first == kNone) return;
  const std::vector<std::string> places = gather_texts(mesh.host(), mine == kNone ? "" : concat(mine, " ", place));
  std::string culprits, others;
  for (const std::string& text : places) {
    if (text.empty()) continue;
    const size_t space = text.find(' ');
    std::string& list = std::stoi(text) == first ? culprits : others;
    list += (list.empty() ? "" : "; ") + text.substr(space + 1);
  }
  const std::string what =
      first == 0 ? "the losses" : "the gradients of " + describe_bucket(layout, static_cast<size_t>(first - 1));
  const std::string message =
      concat("step ", step, ": the same micro-batch computed twice gave different bits, first in ", what, ": ",
             culprits, others.empty() ? "" : concat(" (and later ", others, ")"),
             "; nothing was saved since: take that device out of the run and start it again from its checkpoint");
  throw SharedError(ErrorKind::kData, broadcast_text(mesh.host(), message, 0));
}

}  // namespace retain
