#include "trainer/numerics/replica_check.h"

#include <algorithm>
#include <limits>
#include <map>

#include "parallel/agreement.h"
#include "trainer/numerics/naming.h"

namespace retain {

namespace {

constexpr int64_t kMostOfABucket = 4;  // weights, master weights, two moments

TensorView take_sums(Arena& arena, const ParameterLayout& layout) {
  return arena.take(DType::kInt32, {kMostOfABucket * std::ssize(layout.buckets) + 1, 2});
}

}  // namespace

int64_t ReplicaCheck::memory_bytes(const ParameterLayout& layout) {
  Arena arena;
  take_sums(arena, layout);
  return arena.used_bytes();
}

ReplicaCheck::ReplicaCheck(Backend& backend, Mesh& mesh, const ParameterStore& parameters)
    : backend_(backend), mesh_(mesh), parameters_(parameters), buffer_(backend, memory_bytes(parameters.layout())) {
  Arena arena(buffer_);
  sums_ = take_sums(arena, parameters.layout());
  list_compared();
}

void ReplicaCheck::list_compared() {
  const ParameterLayout& layout = parameters_.layout();
  const bool all_updated = parameters_.updated().size() == layout.flat_elements;
  const auto add = [this](const TensorView& x, const std::string& name, bool over_tp = false) {
    compared_.push_back({.x = x.reshaped({1, x.elements()}), .name = name, .over_tp = over_tp});
  };
  for (size_t i = 0; i < layout.buckets.size(); ++i) {
    const Range range = layout.buckets[i];
    const std::string bucket = describe_bucket(layout, i);
    const TensorView weights = parameters_.flat_weights().slice(0, range.begin, range.size());
    add(weights, "the weights of " + bucket);
    if (!all_updated) continue;
    for (const SharePiece& piece : parameters_.updated().within(range)) {
      if (parameters_.master(piece).data != weights.data)
        add(parameters_.master(piece), "the master weights of " + bucket);
      add(parameters_.moment1(piece), "the first moments of " + bucket);
      add(parameters_.moment2(piece), "the second moments of " + bucket);
    }
  }
  add(parameters_.flat_weights().slice(0, layout.norms.begin, layout.flat_elements - layout.norms.begin),
      "the weights of norms", true);
}

std::vector<uint64_t> ReplicaCheck::fingerprints() {
  parameters_.await_weights(0);
  const auto count = std::ssize(compared_);
  backend_.fill(sums_, 0);
  for (int64_t i = 0; i < count; ++i) {
    backend_.fingerprint({.x = compared_[static_cast<size_t>(i)].x,
                          .out = sums_.slice(0, i, 1).reshaped({2}),
                          .key = static_cast<uint64_t>(i)});
  }
  std::vector<uint64_t> values(static_cast<size_t>(count));
  backend_.download(values.data(), sums_.slice(0, 0, count));
  return values;
}

bool ReplicaCheck::all_agree(const std::vector<uint64_t>& mine) {
  // Of each rank of tp a sum of what its replicas compare, and one of what all ranks do; the least and, as the least of
  // its complement, the largest, by halves.
  constexpr int32_t kNobodys = std::numeric_limits<int32_t>::max();
  constexpr size_t kHalves = 2, kWords = 2 * kHalves;
  std::vector<int32_t> least((static_cast<size_t>(mesh_.shape().tp) + 1) * kWords, kNobodys);
  const auto put = [&](int place, uint64_t value) {
    for (size_t half = 0; half < kHalves; ++half) {
      const auto word = static_cast<int32_t>(static_cast<uint32_t>(value >> (32 * half)));
      int32_t* const at = &least[static_cast<size_t>(place) * kWords + half];
      at[0] = word;
      at[kHalves] = ~word;
    }
  };
  uint64_t of_replica = 0, of_all = 0;
  for (size_t i = 0; i < mine.size(); ++i) (compared_[i].over_tp ? of_all : of_replica) += mine[i];
  put(mesh_.at().tp, of_replica);
  put(mesh_.shape().tp, of_all);
  mesh_.host().all_reduce(TensorView(least.data(), DType::kInt32, {std::ssize(least)}), ReduceOp::kMin).wait();
  for (size_t place = 0; place < least.size(); place += kWords) {
    for (size_t half = 0; half < kHalves; ++half)
      if (least[place + half] != ~least[place + kHalves + half]) return false;
  }
  return true;
}

void ReplicaCheck::run(int64_t step) {
  const std::vector<uint64_t> mine = fingerprints();
  if (!all_agree(mine)) refuse(step, mine);
}

void ReplicaCheck::refuse(int64_t step, const std::vector<uint64_t>& mine) {
  Communicator& host = mesh_.host();
  const auto words = 2 * std::ssize(mine);
  std::vector<uint64_t> all(static_cast<size_t>(host.size()) * mine.size()), own = mine;
  host.all_gather(TensorView(all.data(), DType::kInt32, {host.size(), words}),
                  TensorView(own.data(), DType::kInt32, {words}))
      .wait();
  const std::vector<std::string> places = gather_texts(host, describe_place(mesh_, backend_));
  const auto say = [&](const OddRanks& found, const std::string& name) {
    std::string who;
    for (const int rank : found.odd) who += (who.empty() ? "" : "; ") + places[static_cast<size_t>(rank)];
    return concat("step ", step, ": ", who,
                  found.others > 0 ? concat(" holds other bits than ", found.others, " ranks that agree")
                                   : std::string(": each holds other bits, and too few agree to tell who is right"),
                  ", in ", name,
                  "; nothing was saved since: take that device out of the run and start it again from its checkpoint");
  };
  std::string message;
  for (size_t i = 0; i < mine.size() && message.empty() && host.rank() == 0; ++i) {
    for (int tp = 0; tp < (compared_[i].over_tp ? 1 : mesh_.shape().tp) && message.empty(); ++tp) {
      std::vector<std::pair<int, uint64_t>> values;
      for (int rank = 0; rank < host.size(); ++rank) {
        if (compared_[i].over_tp || coordinate_of(mesh_.shape(), rank).tp == tp)
          values.emplace_back(rank, all[static_cast<size_t>(rank) * mine.size() + i]);
      }
      const auto found = find_odd_ranks(values);
      if (found) message = say(*found, compared_[i].name);
    }
  }
  throw SharedError(ErrorKind::kData, broadcast_text(host, message, 0));
}

std::optional<OddRanks> find_odd_ranks(const std::vector<std::pair<int, uint64_t>>& values_of_ranks) {
  std::map<uint64_t, size_t> counts;
  for (const auto& [rank, value] : values_of_ranks) ++counts[value];
  if (counts.size() < 2) return std::nullopt;
  const auto most = std::ranges::max_element(counts, {}, [](const auto& count) { return count.second; });
  const bool majority = 2 * most->second > values_of_ranks.size();
  OddRanks found{.odd = {}, .others = majority ? most->second : 0};
  for (const auto& [rank, value] : values_of_ranks)
    if (!majority || value != most->first) found.odd.push_back(rank);
  return found;
}

}  // namespace retain
