// Contract in kernels/cuda/hopper/chunk_states.h. A thread block keeps 128 rows of a head's state, by 256 columns or
// 128, in the registers of two warpgroups and walks over the chunks of a sequence. Each chunk's state leaves through
// shared memory and the copy engine while the products of the next chunk go on.
#include <algorithm>

#include "kernels/cuda/check.h"
#include "kernels/cuda/hopper/chunk_states.h"
#include "kernels/cuda/hopper/hopper_ring.cuh"
#include "kernels/cuda/sequences.cuh"

#pragma nv_diag_suppress 177  // in code for other GPUs, where the kernel only traps, nothing refers to its functions

namespace retain::cuda {

namespace {

using namespace hopper;

constexpr int kTokens = 64;  // of x and y in a stage
constexpr int kRows = 64;    // of the state, of a warpgroup
constexpr int kBoxBytes = 64 * kBoxRowBytes;

struct States {
  CUtensorMap x, y, states;
  bool stores;
  const float* boundary;
  float* result;
  const double* log2_gamma;
  bool reverse;
  int heads, row_tiles, column_tiles, items, rows, columns;
  Sequences sequences;
};

template <int kColumns>
struct Tiling {
  static constexpr int kXBytes = kGroups * kBoxBytes;
  static constexpr int kStageBytes = kXBytes + kColumns / kBoxColumns * kBoxBytes;
  static constexpr int kOutBytes = kRows * kColumns * 2;  // of one warpgroup
  static constexpr int kStages = (kTileBytes - kGroups * kOutBytes) / kStageBytes;
  using Stages = Ring<kStages, kStageBytes>;
};

/// A tile of one head's states in one sequence.
struct Item {
  int b, h, row, column;
};

template <int kColumns>
__device__ __forceinline__ Item item_at(const States& a, int index) {
  Item item;
  item.column = index % a.column_tiles * kColumns;
  index /= a.column_tiles;
  item.row = index % a.row_tiles * kGroups * kRows;
  index /= a.row_tiles;
  item.h = index % a.heads;
  item.b = index / a.heads;
  return item;
}

/// Calls body(chunk) for all chunks, in order or from the last.
template <class Body>
__device__ __forceinline__ void for_each_chunk(const States& a, Body&& body) {
  const int chunks = static_cast<int>(a.sequences.chunks);
  for (int i = 0; i < chunks; ++i) body(a.reverse ? chunks - 1 - i : i);
}

template <int kColumns, int kChunk>
__device__ __forceinline__ void feed(const States& a, typename Tiling<kColumns>::Stages ring) {
  using Tile = Tiling<kColumns>;
  for (int index = blockIdx.x; index < a.items; index += gridDim.x) {
    const Item item = item_at<kColumns>(a, index);
    for_each_chunk(a, [&](int c) {
      for (int token = c * kChunk; token < (c + 1) * kChunk; token += kTokens) {
        ring.acquire(Tile::kStageBytes);
        uint32_t to = ring.address();
        for (int g = 0; g < kGroups; ++g, to += kBoxBytes) {
          copy_box(to, a.x, ring.barrier(), item.row + g * kRows, item.h, token, item.b);
        }
        for (int column = 0; column < kColumns; column += kBoxColumns, to += kBoxBytes) {
          copy_box(to, a.y, ring.barrier(), item.column + column, item.h, token, item.b);
        }
        ring.advance();
      }
    });
  }
}

/// Zeroes the rows, tokens from `token` on, that the mask takes out of a warpgroup's box of x. `start`: last_start() of
/// the chunk, 0 or more.
__device__ __forceinline__ void mask_tokens(const Sequences& s, bool reverse, int b, int c, int token, int start,
                                            uint32_t box, int group) {
  if (!reverse && token >= start) return;
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads, row = thread / 2;
  const int64_t first = c * s.chunk, t = min(first + token + row, s.tokens - 1);
  const bool keep = reverse ? document_start(s, b, t) < first : token + row >= start;
  if (!keep) {
    const uint32_t half = box + row * kBoxRowBytes + thread % 2 * (kBoxRowBytes / 2);
    for (int i = 0; i < kBoxRowBytes / 2; i += 16) {
      asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(half + i), "r"(0) : "memory");
    }
  }
  fence_shared();
  group_barrier(group);
}

template <int kColumns, int kChunk>
__device__ __forceinline__ void walk_chunks(const States& a, typename Tiling<kColumns>::Stages ring, uint32_t out,
                                            int group) {
  const Sequences& s = a.sequences;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) % kGroupThreads / 32;
  const bool leader = threadIdx.x % kGroupThreads == 0;
  const int last_tokens = static_cast<int>(chunk_rows(s, s.chunks - 1));
  out += group * Tiling<kColumns>::kOutBytes;
  // store_matrices: this thread's row of a box and the vector of eight columns within it, before the swizzle.
  const uint32_t out_row = out + (warp * 16 + lane % 16) * kBoxRowBytes;
  const int out_vector = lane / 16, swizzle = lane % 8;

  for (int index = blockIdx.x; index < a.items; index += gridDim.x) {
    const Item item = item_at<kColumns>(a, index);
    const double log2_gamma = a.log2_gamma[item.h];
    const float gamma = decay_over(log2_gamma, 1), full = decay_over(log2_gamma, s.chunk);
    // The element of thread and register in [B,H,K,V]; see hopper.cuh for the registers' places.
    const int64_t row = (int64_t{item.b} * a.heads + item.h) * a.rows + item.row + group * kRows + warp * 16 + lane / 4;
    const int64_t at = row * a.columns + item.column + 2 * (lane % 4);
    float acc[kColumns / 2];
    {
      const float decay = a.reverse ? decay_over(log2_gamma, last_tokens - 1) : gamma;
#pragma unroll
      for (int i = 0; i < kColumns / 2; i += 2) {
        float2 x = make_float2(0, 0);
        if (a.boundary) {
          x = *reinterpret_cast<const float2*>(a.boundary + at + i / 4 * 8 + (i % 4 / 2) * int64_t{8} * a.columns);
        }
        acc[i] = decay * x.x;
        acc[i + 1] = decay * x.y;
      }
    }
    for_each_chunk(a, [&](int c) {
      const int start = last_start(s, item.b, c);
      if (a.stores) {
        if (leader) copies_wait_read();
        group_barrier(group);
#pragma unroll
        for (int i = 0; i < kColumns / 16; ++i) {
          uint32_t x[4];
#pragma unroll
          for (int j = 0; j < 4; ++j) x[j] = pack(acc[8 * i + 2 * j], acc[8 * i + 2 * j + 1]);
          const int vector = i % 4 * 2 + out_vector;
          store_matrices(out_row + i / 4 * kBoxBytes + (vector ^ swizzle) * 16, x);
        }
        fence_shared();
        group_barrier(group);
        if (leader) {
          for (int i = 0; i < kColumns / kBoxColumns; ++i) {
            store_box(a.states, out + i * kBoxBytes, item.column + i * kBoxColumns, item.row + group * kRows, item.h, c,
                      item.b);
          }
          copies_commit();
        }
      }
      if (start >= 0) {
#pragma unroll
        for (int i = 0; i < kColumns / 2; ++i) acc[i] = 0;
      }
      pin(acc);
#pragma unroll  // or products under way would meet registers scaled by ordinary instructions
      for (int token = 0; token < kChunk; token += kTokens) {
        ring.wait();
        const uint32_t x = ring.address() + group * kBoxBytes, y = ring.address() + kGroups * kBoxBytes;
        if (start >= 0) mask_tokens(s, a.reverse, item.b, c, token, start, x, group);
        products_begin();
#pragma unroll
        for (int k = 0; k < kTokens; k += 16) {
          multiply<true, true>(acc, transposed_operand(x + k * kBoxRowBytes, kBoxBytes),
                               transposed_operand(y + k * kBoxRowBytes, kBoxBytes), 1);
        }
        ring.commit();
      }
      ring.finish();
      pin(acc);
      const float decay =
          a.reverse ? (c == 0 ? gamma : full) : (c + 1 < s.chunks ? full : decay_over(log2_gamma, last_tokens));
#pragma unroll
      for (int i = 0; i < kColumns / 2; ++i) acc[i] *= decay;
    });
    if (!a.result) continue;
    const float scale = a.reverse ? 1.0F : 1.0F / gamma;
#pragma unroll
    for (int i = 0; i < kColumns / 2; i += 2) {
      *reinterpret_cast<float2*>(a.result + at + i / 4 * 8 + (i % 4 / 2) * int64_t{8} * a.columns) =
          make_float2(acc[i] * scale, acc[i + 1] * scale);
    }
  }
  if (leader) copies_wait();
}

template <int kColumns, int kChunk>
__global__ void __launch_bounds__(kBlockThreads, 1) chunk_states_kernel(const __grid_constant__ States a) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Tile = Tiling<kColumns>;
  extern __shared__ char memory[];
  const uint32_t tiles = tiles_at(memory);
  typename Tile::Stages ring(tiles + kGroups * Tile::kOutBytes, barriers_at(memory));
  feed_and_multiply([&] { ring.init(); },                      //
                    [&] { feed<kColumns, kChunk>(a, ring); },  //
                    [&](int group) { walk_chunks<kColumns, kChunk>(a, ring, tiles, group); });
#else
  __trap();
#endif
}

}  // namespace

void chunk_states(const char* operation, const TensorMapEncoder& encoder, const ChunkStates& args,
                  const Sequences& sequences, int multiprocessors, cudaStream_t stream) {
  const int64_t batch = args.x.shape[0], heads = args.x.shape[2], rows = args.x.shape[3], columns = args.y.shape[3];
  const int64_t row_tiles = rows / (kGroups * kRows);
  const auto items = [&](int64_t tile_columns) { return batch * heads * row_tiles * (columns / tile_columns); };
  const bool wide = items(256) > multiprocessors / 2;  // few sequences are spread over more multiprocessors
  const int64_t tile_columns = wide ? 256 : 128;
  RETAIN_CHECK(items(tile_columns) < (int64_t{1} << 31), operation, " of ", args.x.describe());

  States a;
  a.x = encoder.boxes(args.x, 1, kTokens);
  a.y = encoder.boxes(args.y, 1, kTokens);
  a.stores = static_cast<bool>(args.states);
  if (a.stores) a.states = encoder.boxes(args.states, 3, kRows);
  a.boundary = static_cast<const float*>(args.boundary.data);
  a.result = static_cast<float*>(args.result.data);
  a.log2_gamma = args.log2_gamma;
  a.reverse = args.reverse;
  a.heads = static_cast<int>(heads);
  a.row_tiles = static_cast<int>(row_tiles);
  a.column_tiles = static_cast<int>(columns / tile_columns);
  a.items = static_cast<int>(items(tile_columns));
  a.rows = static_cast<int>(rows);
  a.columns = static_cast<int>(columns);
  a.sequences = sequences;
  RETAIN_CHECK(sequences.chunk == 128 || sequences.chunk == 256, operation, " in chunks of ", sequences.chunk);
  const auto kernel = sequences.chunk == 128 ? (wide ? chunk_states_kernel<256, 128> : chunk_states_kernel<128, 128>)
                                             : (wide ? chunk_states_kernel<256, 256> : chunk_states_kernel<128, 256>);
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes), operation);
  kernel<<<std::min(a.items, multiprocessors), kBlockThreads, kSharedBytes, stream>>>(a);
  LAUNCH_CHECK(operation, ": states of the chunks");
}

}  // namespace retain::cuda
