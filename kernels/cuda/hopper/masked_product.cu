// Contract in kernels/cuda/hopper/masked_product.h. Thread blocks stay on their multiprocessor and walk over tiles of
// 128 rows by up to 256 columns of out, 64 rows a warpgroup. For one tile: x w, then for each block of 64 tokens that a
// row sees its scores and their product with z.
#include <algorithm>

#include "kernels/cuda/check.h"
#include "kernels/cuda/hopper/hopper_ring.cuh"
#include "kernels/cuda/hopper/masked_product.h"
#include "kernels/cuda/sequences.cuh"
#include "kernels/cuda/workspace_layout.h"

#pragma nv_diag_suppress 177  // in code for other GPUs, where the kernel only traps, nothing refers to its functions

namespace retain::cuda {

namespace {

using namespace hopper;

constexpr int kBlock = 64;                   // tokens of y and z, rows of w, at a time; rows of a warpgroup
constexpr int kTileRows = kGroups * kBlock;  // of x and out
constexpr int kBoxBytes = kBlock * kBoxRowBytes;
constexpr int kStep = 16;  // contracted columns of one instruction
constexpr int kMostProducts = 2;

/// kInner: columns of x and y. kOuter: columns of z and out.
template <int kInnerColumns, int kOuterColumns>
struct Tiling {
  static constexpr int kInner = kInnerColumns;
  static constexpr int kColumns = std::min(kOuterColumns, 256);  // of a tile of out
  static constexpr int kSplits = kOuterColumns / kColumns;       // tiles side by side
  static constexpr int kYColumns = std::min(kInner, 256);        // of y in a stage
  static constexpr int kYBytes = kBlock * kYColumns * 2;
  static constexpr int kZBytes = kBlock * kColumns * 2;  // of z or w in a stage
  static constexpr int kStageBytes = std::max(kYBytes, kZBytes);
  static constexpr int kXBoxes = kInner / kBoxColumns;
  static constexpr int kXBoxBytes = kTileRows * kBoxRowBytes;
  static constexpr int kStages = (kTileBytes - kXBoxes * kXBoxBytes) / kStageBytes;
  using Stages = Ring<kStages, kStageBytes>;
  static_assert(kOuterColumns % kColumns == 0 && kInner % kYColumns == 0);
};

struct Product {
  CUtensorMap x, y, z, w;
  __nv_bfloat16* out;
  int64_t out_batch, out_token, out_head;
  bool upper;
  int stateless_chunk;
};

struct Products {
  Product product[kMostProducts];
  int count, heads, items;
  Sequences sequences;
};

/// One tile of out: which, and the blocks of tokens that its rows see.
struct Item {
  const Product* product;
  int b, h, c, tile, split, first, end;
  bool state;
};

/// Tiles of one chunk follow each other, while their operands are in the L2 cache. Some see more blocks than others:
/// their order changes from chunk to chunk, so that no thread block gets only long ones.
template <class Tile>
__device__ __forceinline__ Item item_at(const Products& a, int index) {
  const Sequences& s = a.sequences;
  const int tiles = static_cast<int>(s.chunk) / kTileRows, chunks = static_cast<int>(s.chunks);
  Item item;
  item.split = index % Tile::kSplits;
  index /= Tile::kSplits;
  const int product = index % a.count;
  index /= a.count;
  item.product = &a.product[product];
  const int turn = index % tiles;
  index /= tiles;
  item.tile = (turn + __popc(index) + product) % tiles;
  item.c = index % chunks;
  index /= chunks;
  item.h = index % a.heads;
  item.b = index / a.heads;
  const int tokens = min(static_cast<int>(s.chunk), static_cast<int>(s.tokens) - item.c * static_cast<int>(s.chunk));
  const int present = (tokens + kBlock - 1) / kBlock;
  item.first = item.product->upper ? item.tile * kGroups : 0;
  item.end = item.product->upper ? present : min((item.tile + 1) * kGroups, present);
  if (item.tile * kGroups >= present) item.end = item.first;  // no rows
  item.state = item.c != item.product->stateless_chunk;
  return item;
}

/// The tile of x, in boxes that arrive one by one.
template <class Tile>
struct SharedX {
  uint32_t tile, barriers;
  static constexpr int kBarriers = Tile::kXBoxes + 1;

  __device__ uint32_t full(int box) const { return barriers + 8 * box; }
  __device__ uint32_t empty() const { return barriers + 8 * Tile::kXBoxes; }
};

template <class Tile, bool kTransposed>
__device__ __forceinline__ void feed(const Products& a, typename Tile::Stages ring, SharedX<Tile> x) {
  uint32_t x_parity = 0;
  for (int index = blockIdx.x; index < a.items; index += gridDim.x) {
    const Item item = item_at<Tile>(a, index);
    if (item.first == item.end) continue;
    const Product& p = *item.product;
    const int chunk_row = item.c * static_cast<int>(a.sequences.chunk), column = item.split * Tile::kColumns;
    barrier_wait(x.empty(), x_parity ^ 1);
    x_parity ^= 1;
    for (int i = 0; i < Tile::kXBoxes; ++i) {
      barrier_expect(x.full(i), Tile::kXBoxBytes);
      copy_box(x.tile + i * Tile::kXBoxBytes, p.x, x.full(i), i * kBoxColumns, item.h,
               chunk_row + item.tile * kTileRows, item.b);
    }
    if (item.state) {
      for (int inner = 0; inner < Tile::kInner; inner += kBlock) {
        ring.acquire(Tile::kZBytes);
        if constexpr (kTransposed) {
          copy_box(ring.address(), p.w, ring.barrier(), inner, column, item.h, item.c, item.b);
        } else {
          for (int i = 0; i < Tile::kColumns / kBoxColumns; ++i) {
            copy_box(ring.address() + i * kBoxBytes, p.w, ring.barrier(), column + i * kBoxColumns, inner, item.h,
                     item.c, item.b);
          }
        }
        ring.advance();
      }
    }
    for (int block = item.first; block < item.end; ++block) {
      const int row = chunk_row + block * kBlock;
      for (int inner = 0; inner < Tile::kInner; inner += Tile::kYColumns) {
        ring.acquire(Tile::kYBytes);
        for (int i = 0; i < Tile::kYColumns / kBoxColumns; ++i) {
          copy_box(ring.address() + i * kBoxBytes, p.y, ring.barrier(), inner + i * kBoxColumns, item.h, row, item.b);
        }
        ring.advance();
      }
      ring.acquire(Tile::kZBytes);
      for (int i = 0; i < Tile::kColumns / kBoxColumns; ++i) {
        copy_box(ring.address() + i * kBoxBytes, p.z, ring.barrier(), column + i * kBoxColumns, item.h, row, item.b);
      }
      ring.advance();
    }
  }
}

/// What a row of scores sees: columns lo to hi, counted from the chunk's start; and whether it meets the state.
struct Sight {
  int lo, hi;
  bool state;
};

/// Of a row of the item in a chunk whose last document starts at token `last_start` of it.
__device__ __forceinline__ Sight sight_of(const Sequences& s, const Item& item, int row, int last_start) {
  const bool upper = item.product->upper;
  Sight sight{upper ? row : 0, upper ? static_cast<int>(s.chunk) : row, true};
  const int64_t first = item.c * s.chunk;
  const int tokens = static_cast<int>(chunk_rows(s, item.c));
  if (last_start < 0 || row >= tokens) return sight;
  if (upper) {  // the last query of this key's document
    int low = row, high = tokens - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (document_start(s, item.b, first + middle) - first <= row) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    sight.hi = low;
    sight.state = row >= last_start;
  } else {
    const int64_t start = document_start(s, item.b, first + row) - first;
    sight.lo = start > 0 ? static_cast<int>(start) : 0;
    sight.state = start < 0;
  }
  return sight;
}

/// Zeroes the scores, from `column` on, that rows do not see.
template <int kScores>
__device__ __forceinline__ void hide_unseen(float (&score)[kScores], const Sight (&sight)[2], int column) {
#pragma unroll
  for (int i = 0; i < kScores; ++i) {
    const int c = column + i / 4 * 8 + i % 2;
    const Sight& row = sight[i / 2 % 2];
    score[i] = c >= row.lo && c <= row.hi ? score[i] : 0.0F;
  }
}

/// Stores a warpgroup's rows: the four threads that share a row exchange pairs of columns, so that each stores 16 bytes
/// and together 64.
template <int kCount>
__device__ __forceinline__ void store_rows(const float (&acc)[kCount], __nv_bfloat16* out, int64_t token_stride,
                                           int rows, int lane) {
  const int quarter = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
#pragma unroll
    for (int i = 0; i < kCount / 16; ++i) {
      uint32_t x[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) x[j] = pack(acc[16 * i + 4 * j + 2 * half], acc[16 * i + 4 * j + 2 * half + 1]);
      // Transposes the 4 x 4 pairs of four threads: first within pairs of threads, then between them.
      const bool odd = quarter & 1, upper = quarter & 2;
#pragma unroll
      for (int j = 0; j < 4; j += 2) {
        const uint32_t got = __shfl_xor_sync(0xFFFFFFFF, odd ? x[j] : x[j + 1], 1);
        (odd ? x[j] : x[j + 1]) = got;
      }
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const uint32_t got = __shfl_xor_sync(0xFFFFFFFF, upper ? x[j] : x[j + 2], 2);
        (upper ? x[j] : x[j + 2]) = got;
      }
      if (row < rows) {
        *reinterpret_cast<uint4*>(out + row * token_stride + 32 * i + 8 * quarter) = make_uint4(x[0], x[1], x[2], x[3]);
      }
    }
  }
}

template <class Tile, bool kTransposed>
__device__ __forceinline__ void multiply_tiles(const Products& a, typename Tile::Stages ring, SharedX<Tile> x,
                                               int group) {
  const Sequences& s = a.sequences;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) % kGroupThreads / 32;
  uint32_t x_parity = 0;
  const auto leave_x = [&] {
    if (threadIdx.x % kGroupThreads == 0) barrier_arrive(x.empty());
  };
  const uint32_t x_rows = x.tile + group * kBoxBytes;
  const auto x_operand = [&](int column) {
    return row_operand(x_rows + column / kBoxColumns * Tile::kXBoxBytes + column % kBoxColumns * 2);
  };

  for (int index = blockIdx.x; index < a.items; index += gridDim.x) {
    const Item item = item_at<Tile>(a, index);
    if (item.first == item.end) continue;
    const int diagonal = item.tile * kGroups + group;          // the block whose tokens are this warpgroup's rows
    const int row = diagonal * kBlock + warp * 16 + lane / 4;  // in the chunk; and row + 8
    const int start = last_start(s, item.b, item.c);
    const Sight sight[2] = {sight_of(s, item, row, start), sight_of(s, item, row + 8, start)};
    float acc[Tile::kColumns / 2];
    int accumulate = 0;
    if (item.state) {
#pragma unroll 1
      for (int inner = 0; inner < Tile::kInner; inner += kBlock) {
        barrier_wait(x.full(inner / kBoxColumns), x_parity);
        ring.wait();
        products_begin();
#pragma unroll
        for (int i = 0; i < kBlock; i += kStep) {
          if constexpr (kTransposed) {
            multiply<false, false>(acc, x_operand(inner + i), row_operand(ring.address() + i * 2), accumulate);
          } else {
            multiply<false, true>(acc, x_operand(inner + i),
                                  transposed_operand(ring.address() + i * kBoxRowBytes, kBoxBytes), accumulate);
          }
          accumulate = 1;
        }
        ring.commit();
      }
      if (start >= 0) {
        ring.finish();
        pin(acc);
#pragma unroll
        for (int i = 0; i < Tile::kColumns / 2; ++i) acc[i] = sight[i / 2 % 2].state ? acc[i] : 0.0F;
        pin(acc);
      }
    }
    // The blocks that this warpgroup's rows see; it steps over those that only the other's do.
    const int first = item.product->upper ? diagonal : item.first;
    const int last = item.product->upper ? item.end - 1 : min(diagonal, item.end - 1);
    if (first > last) {
      ring.finish();
      barrier_wait(x.full(0), x_parity);  // or the other warpgroup could still be at the tile before
      group_barrier(group);
      leave_x();
    }
    for (int block = item.first; block < item.end; ++block) {
      if (block < first || block > last) {
        ring.finish();
        for (int inner = 0; inner < Tile::kInner; inner += Tile::kYColumns) ring.skip(group);
        ring.skip(group);
        continue;
      }
      float score[kBlock / 2];
#pragma unroll
      for (int inner = 0; inner < Tile::kInner; inner += Tile::kYColumns) {
#pragma unroll
        for (int i = 0; i < Tile::kYColumns; i += kBoxColumns) {
          barrier_wait(x.full((inner + i) / kBoxColumns), x_parity);
        }
        ring.wait();
        products_begin();
#pragma unroll
        for (int i = 0; i < Tile::kYColumns; i += kStep) {
          multiply<false, false>(score, x_operand(inner + i),
                                 row_operand(ring.address() + i / kBoxColumns * kBoxBytes + i % kBoxColumns * 2),
                                 inner + i > 0);
        }
        ring.commit();
      }
      ring.finish();
      pin(score);
      if (block == last) leave_x();
      if (block == diagonal || start >= 0) hide_unseen(score, sight, block * kBlock + 2 * (lane % 4));
      uint32_t packed[kBlock / kStep][4];
#pragma unroll
      for (int i = 0; i < kBlock / kStep; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) packed[i][j] = pack(score[8 * i + 2 * j], score[8 * i + 2 * j + 1]);
      }
      pin(packed);
      ring.wait();
      products_begin();
#pragma unroll
      for (int i = 0; i < kBlock / kStep; ++i) {
        multiply<true>(acc, packed[i], transposed_operand(ring.address() + i * kStep * kBoxRowBytes, kBoxBytes),
                       accumulate);
        accumulate = 1;
      }
      ring.commit();
    }
    ring.finish();
    pin(acc);
    x_parity ^= 1;
    const Product& p = *item.product;
    const int64_t token = item.c * s.chunk + diagonal * kBlock + warp * 16;
    __nv_bfloat16* out = p.out + item.b * p.out_batch + token * p.out_token + item.h * p.out_head;
    store_rows(acc, out + item.split * Tile::kColumns, p.out_token,
               static_cast<int>(min(s.tokens - token, int64_t{16})), lane);
  }
}

template <int kInner, int kOuter, bool kTransposed>
__global__ void __launch_bounds__(kBlockThreads, 1) masked_product_kernel(const __grid_constant__ Products a) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Tile = Tiling<kInner, kOuter>;
  extern __shared__ char memory[];
  const SharedX<Tile> x{tiles_at(memory), barriers_at(memory)};
  typename Tile::Stages ring(x.tile + Tile::kXBoxes * Tile::kXBoxBytes, x.barriers + 8 * x.kBarriers);
  static_assert(8 * (SharedX<Tile>::kBarriers + Tile::Stages::kBarriers) <= kBarrierBytes);
  feed_and_multiply(
      [&] {
        ring.init();
        for (int i = 0; i < Tile::kXBoxes; ++i) barrier_init(x.full(i), 1);
        barrier_init(x.empty(), kGroups);
      },
      [&] { feed<Tile, kTransposed>(a, ring, x); },
      [&](int group) { multiply_tiles<Tile, kTransposed>(a, ring, x, group); });
#else
  __trap();
#endif
}

template <int kInner, int kOuter, bool kTransposed>
void launch(const char* operation, const TensorMapEncoder& encoder, std::span<const MaskedProduct> products,
            const Sequences& s, int64_t blocks, cudaStream_t stream) {
  using Tile = Tiling<kInner, kOuter>;
  const TensorView& shape = products[0].x;  // [B,T,H,·]
  Products a;
  a.count = static_cast<int>(products.size());
  a.heads = static_cast<int>(shape.shape[2]);
  a.sequences = s;
  const int64_t items = a.count * shape.shape[0] * shape.shape[2] * s.chunks * Tile::kSplits * (s.chunk / kTileRows);
  RETAIN_CHECK(a.count <= kMostProducts && items < (int64_t{1} << 31), operation, " of ", shape.describe());
  a.items = static_cast<int>(items);
  for (int i = 0; i < a.count; ++i) {
    const MaskedProduct& from = products[i];
    Product& to = a.product[i];
    to.x = encoder.boxes(from.x, 1, kTileRows);
    to.y = encoder.boxes(from.y, 1, kBlock);
    to.z = encoder.boxes(from.z, 1, kBlock);
    to.w = encoder.boxes(from.states, 3, kTransposed ? Tile::kColumns : kBlock);
    to.out = static_cast<__nv_bfloat16*>(from.out.data);
    to.out_batch = from.out.stride[0];
    to.out_token = from.out.stride[1];
    to.out_head = from.out.stride[2];
    to.upper = from.upper;
    to.stateless_chunk = static_cast<int>(from.stateless_chunk);
  }
  const auto kernel = masked_product_kernel<kInner, kOuter, kTransposed>;
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes), operation);
  kernel<<<static_cast<unsigned>(std::min(items, blocks)), kBlockThreads, kSharedBytes, stream>>>(a);
  LAUNCH_CHECK(operation, ": masked product");
}

}  // namespace

void masked_products(const char* operation, const TensorMapEncoder& encoder, std::span<const MaskedProduct> products,
                     bool transposed, const Sequences& sequences, int64_t blocks, cudaStream_t stream) {
  const TensorView& states = products[0].states;
  const int64_t key_dim = states.shape[3], value_dim = states.shape[4];
  RETAIN_CHECK(hopper_serves(sequences.chunk, key_dim, value_dim), operation, " with ", states.describe());
  const bool wide = key_dim == 256;
  const auto run = transposed ? (wide ? launch<512, 256, true> : launch<256, 128, true>)
                              : (wide ? launch<256, 512, false> : launch<128, 256, false>);
  run(operation, encoder, products, sequences, blocks, stream);
}

}  // namespace retain::cuda
