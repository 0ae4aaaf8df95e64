#include "trainer/checkpoint/state_digest.h"

#include "parallel/agreement.h"
#include "trainer/checkpoint/checksum.h"

namespace retain {

namespace {

TensorView take_sums(Arena& arena, const ParameterLayout& layout) {
  return arena.take(DType::kInt32, {std::ssize(layout.parameters), kStates, 2});
}

uint64_t key_of(const std::string& tensor, int state) {
  return checksum(tensor.data(), static_cast<int64_t>(tensor.size())) + static_cast<uint64_t>(state);
}

/// Sums modulo 2^64 over all ranks, in parts of 16 bits, of which up to 2^15 ranks add in 31.
void sum_over_ranks(Communicator& host, std::vector<StateDigests>& digests) {
  constexpr unsigned kParts = 4, kBits = 16;
  std::vector<int32_t> parts;
  for (const StateDigests& states : digests) {
    for (const uint64_t value : states)
      for (unsigned i = 0; i < kParts; ++i) parts.push_back(static_cast<int32_t>(value >> (kBits * i) & 0xffffU));
  }
  host.all_reduce(TensorView(parts.data(), DType::kInt32, {std::ssize(parts)}), ReduceOp::kSum).wait();
  size_t next = 0;
  for (StateDigests& states : digests) {
    for (uint64_t& value : states) {
      value = 0;
      for (unsigned i = 0; i < kParts; ++i) value += static_cast<uint64_t>(parts[next++]) << (kBits * i);
    }
  }
}

}  // namespace

int64_t StateDigest::memory_bytes(const ParameterLayout& layout) {
  Arena arena;
  take_sums(arena, layout);
  return arena.used_bytes();
}

StateDigest::StateDigest(Backend& backend, const ParameterStore& parameters, const ReplicaShare& share, int tp_rank)
    : backend_(backend),
      parameters_(parameters),
      share_(share),
      placements_(placements_of(parameters.layout(), tp_rank)),
      buffer_(backend, memory_bytes(parameters.layout())) {
  Arena arena(buffer_);
  sums_ = take_sums(arena, parameters.layout());
}

std::vector<StateDigests> StateDigest::compute(LoadedPart part) {
  backend_.fill(sums_, 0);
  for (const ShareBox& box : boxes_of_share(placements_, share_)) {
    if (placements_[static_cast<size_t>(box.placement)].stored) add(box, part);
  }
  std::vector<StateDigests> digests(placements_.size());
  backend_.download(digests.data(), sums_);
  return digests;
}

void StateDigest::add(const ShareBox& part, LoadedPart loaded) {
  const TensorPlacement& placement = placements_[static_cast<size_t>(part.placement)];
  const Box whole = whole_box(placement.global_shape), &box = part.box;
  const auto piece = [&](const SharePiece& share) {
    const bool inside = share.offset <= part.offset && part.offset < share.offset + share.size();
    const int64_t begin = share.flat.begin + part.offset - share.offset;
    return inside ? parameters_.updated().within({begin, begin + box.elements()}) : std::vector<SharePiece>();
  };
  for (const SharePiece& share : share_.pieces()) {
    for (const SharePiece& here : piece(share)) {
      const std::array<TensorView, kStates> states = {parameters_.master(here), parameters_.moment1(here),
                                                      parameters_.moment2(here)};
      for (int i = 0; i < (loaded == LoadedPart::kAll ? kStates : 1); ++i) {
        backend_.fingerprint({.x = states.at(static_cast<size_t>(i)).reshaped({box.rows, box.columns}),
                              .out = sums_.slice(0, part.placement, 1).slice(1, i, 1).reshaped({2}),
                              .key = key_of(placement.name, i),
                              .first_index = box.first_row * whole.columns + box.first_column,
                              .row_step = whole.columns});
      }
    }
  }
}

void refuse_other_digest(Communicator& host, const Checkpoint& checkpoint, DType accumulate,
                         const std::vector<StateDigests>& mine, LoadedPart part) {
  const Manifest& manifest = checkpoint.manifest();
  if (manifest.dtype != accumulate) return;
  std::vector<StateDigests> loaded = mine;
  sum_over_ranks(host, loaded);
  RETAIN_CHECK(loaded.size() == manifest.tensors.size(), loaded.size(), " tensors, the checkpoint has ",
               manifest.tensors.size());
  for (size_t t = 0; t < loaded.size(); ++t) {
    const TensorRecord& tensor = manifest.tensors[t];
    if (!tensor.digests) continue;
    for (size_t i = 0; i < (part == LoadedPart::kAll ? kStates : 1); ++i) {
      const uint64_t want = tensor.digests->at(i), got = loaded[t][i];
      if (got == want) continue;
      throw SharedError(
          ErrorKind::kData,
          concat(checkpoint.path().string(), ": ", tensor.name, " ", kStateNames.at(i), " was loaded as ", to_hex(got),
                 ", and was ", to_hex(want), " when it was saved, though all files are whole: memory or a device ",
                 "changed it on its way; start again, on other machines if it happens again"));
    }
  }
}

}  // namespace retain
