// How the CUDA backend divides its workspace, as pure functions without any CUDA header: the plan and the backend
// share them. The workspace is kLanes scratch blocks for cuBLASLt and one block that one operation uses at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/core/dtype.h"
#include "kernels/core/memory.h"

namespace retain::cuda {

/// Streams over which the heads of retention are spread: a product of one head is about one wave of thread blocks,
/// and the second lane fills its tail and hides the memory-bound kernels between products.
inline constexpr int kLanes = 2;
/// cuBLAS asks for at least 32 MiB on Hopper; 64 lets every split-K algorithm of our shapes take part.
inline constexpr int64_t kMatmulWorkspaceBytes = int64_t{64} << 20;
/// Thread blocks of a two-stage reduction: four for each of Hopper's 132 multiprocessors. A constant, so that sums
/// do not depend on the device.
inline constexpr int64_t kPartialBlocks = 528;

/// Elements of the states and of the scores of the chunks of one head that a lane works on at once. Together they fill
/// the multiprocessors twice (64 products of 256 x 512 are 256 tiles of 128 x 256); smaller parts cost more in launches
/// than the L2 cache gives back.
inline constexpr int64_t kPartStateElements = int64_t{64} * 256 * 512;
inline constexpr int64_t kPartScoreElements = int64_t{64} * 256 * 256;

constexpr int64_t part_chunks(int64_t chunk, int64_t key_dim, int64_t value_dim) {
  return std::max<int64_t>(1,
                           std::min(kPartStateElements / (key_dim * value_dim), kPartScoreElements / (chunk * chunk)));
}

/// Sequences, of `batch`, that a lane works on at once: whole sequences, because the scan runs along them, and parts
/// of like size.
constexpr int64_t part_sequences(int64_t batch, int64_t chunks_per_sequence, int64_t chunks) {
  const int64_t most = std::clamp<int64_t>(chunks / std::max<int64_t>(chunks_per_sequence, 1), 1, batch);
  const int64_t parts = (batch + most - 1) / most;
  return (batch + parts - 1) / parts;
}

/// Scratch of retention for one lane, one part of one head at a time: byte offsets of its parts. It grows with
/// batch, tokens, key_dim and value_dim, so that what suits the largest shapes suits all.
struct RetentionScratch {
  int64_t scores = 0, states = 0, dstates = 0, masked = 0, bytes = 0;

  RetentionScratch(int64_t batch, int64_t tokens, int64_t chunk, int64_t key_dim, int64_t value_dim,
                   int64_t element_bytes) {
    const int64_t sequence_chunks = (tokens + chunk - 1) / chunk;
    const int64_t chunks =
        std::min(batch * sequence_chunks, std::max(sequence_chunks, part_chunks(chunk, key_dim, value_dim)));
    const int64_t score_bytes = chunks * chunk * chunk * element_bytes;  // a whole number of 16-byte vectors
    const int64_t state_bytes = align_up(chunks * key_dim * value_dim * element_bytes, kAlignmentBytes);
    scores = 0;  // and their gradient right behind them: one kernel masks both
    states = align_up(2 * score_bytes, kAlignmentBytes);
    dstates = states + state_bytes;
    masked = dstates + state_bytes;
    bytes = masked + align_up(std::min(batch * tokens, chunks * chunk) * key_dim * element_bytes, kAlignmentBytes);
  }
};

/// True if Hopper's own kernels serve heads of these dims, in bf16.
constexpr bool hopper_serves(int64_t chunk, int64_t key_dim, int64_t value_dim) {
  return (chunk == 256 && key_dim == 256 && value_dim == 512) || (chunk == 128 && key_dim == 128 && value_dim == 256);
}

/// The states, or their gradients, of all chunks of one layer, which these kernels keep as bf16 [B,N,H,K,V].
constexpr int64_t hopper_states_bytes(int64_t batch, int64_t tokens, int64_t chunk, int64_t heads, int64_t key_dim,
                                      int64_t value_dim) {
  return batch * ((tokens + chunk - 1) / chunk) * heads * key_dim * value_dim * dtype_bytes(DType::kBfloat16);
}

/// Scratch of the column sums behind a weight gradient of this many columns.
constexpr int64_t column_partials_bytes(int64_t columns) {
  return kPartialBlocks * columns * static_cast<int64_t>(sizeof(float));
}

/// Tokens, sorted, of which one block sums the embedding's gradient: long runs of a frequent token are shared out.
inline constexpr int64_t kEmbeddingPiece = 128;

/// Scratch of the runs that cross pieces.
constexpr int64_t embedding_partials_bytes(int64_t tokens, int64_t columns) {
  const int64_t pieces = (tokens + kEmbeddingPiece - 1) / kEmbeddingPiece;
  return pieces > 1 ? 2 * pieces * columns * static_cast<int64_t>(sizeof(float)) : 0;
}

constexpr int64_t reduce_partials_bytes() { return kPartialBlocks * static_cast<int64_t>(sizeof(double)); }

}  // namespace retain::cuda
