// How the Hopper kernels move tiles: one thread, the feeder, has them copied into a ring of stages of shared memory,
// two warpgroups multiply them. A stage is filled when its bytes are there and free again when both warpgroups have
// read it.
#pragma once

#include "kernels/cuda/hopper/hopper.cuh"

namespace retain::cuda::hopper {

inline constexpr int kGroups = 2;  // warpgroups that multiply
inline constexpr int kGroupThreads = 128;
inline constexpr int kBlockThreads = (1 + kGroups) * kGroupThreads;
inline constexpr int kFeederRegisters = 24, kGroupRegisters = 240;  // of the 168 a thread that the block starts with
inline constexpr int kTileBytes = 224 << 10;                        // shared memory for tiles
inline constexpr int kBarrierBytes = 256;
inline constexpr int kSharedBytes = 1024 + kTileBytes + kBarrierBytes;  // tiles begin at a multiple of 1,024

/// Where the tiles begin in the block's dynamic shared memory, and the barriers behind them.
__device__ __forceinline__ uint32_t tiles_at(const void* memory) {
  return (shared_address(memory) + 1023) / 1024 * 1024;
}
__device__ __forceinline__ uint32_t barriers_at(const void* memory) { return tiles_at(memory) + kTileBytes; }

/// The thread block: feed() by one thread, with few registers, and multiply(group) by both warpgroups, with many.
/// `init_barriers` by one thread before them.
template <class Init, class Feed, class Multiply>
__device__ __forceinline__ void feed_and_multiply(Init&& init_barriers, Feed&& feed, Multiply&& multiply) {
  if (threadIdx.x == 0) {
    init_barriers();
    fence_barrier_init();
  }
  __syncthreads();
  const int group = __shfl_sync(0xFFFFFFFF, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  if (group == 0) {
    fewer_registers<kFeederRegisters>();
    if (threadIdx.x == 0) feed();
  } else {
    more_registers<kGroupRegisters>();
    multiply(group - 1);
  }
}

/// Waits for all threads of the caller's warpgroup. Products bring its warps together by themselves; a warpgroup that
/// gives something back without having multiplied needs this: a warp that had not yet seen the phase end could miss it.
__device__ __forceinline__ void group_barrier(int group) {
  if (group == 0) {
    asm volatile("bar.sync 1, 128;" ::: "memory");
  } else {
    asm volatile("bar.sync 2, 128;" ::: "memory");
  }
}

/// The stages, and one thread's or warpgroup's place among them. Every user goes through all stages in order.
template <int kStages, int kStageBytes>
class Ring {
 public:
  static constexpr int kBarriers = 2 * kStages;
  static_assert(kStages >= 2 && 8 * kBarriers <= kBarrierBytes);  // a warpgroup holds one while it waits for the next

  __device__ Ring(uint32_t stages, uint32_t barriers) : stages_(stages), barriers_(barriers) {}

  /// By one thread, before anybody uses the ring.
  __device__ void init() const {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(full(i), 1);
      barrier_init(empty(i), kGroups);
    }
  }

  // The feeder: acquire(), copies of that many bytes to address() that announce themselves to barrier(), advance().
  __device__ void acquire(int bytes) const {
    barrier_wait(empty(stage_), parity_ ^ 1);
    barrier_expect(full(stage_), bytes);
  }
  __device__ uint32_t address() const { return stages_ + stage_ * kStageBytes; }
  __device__ uint32_t barrier() const { return full(stage_); }
  __device__ void advance() {
    if (++stage_ == kStages) {
      stage_ = 0;
      parity_ ^= 1;
    }
  }

  // A warpgroup: wait(), products_begin(), products from address(), commit(). A stage is given back once the products
  // of the next one have begun; finish() waits for all products and gives the last stage back.
  __device__ void wait() const { barrier_wait(full(stage_), parity_); }
  __device__ void commit() {
    products_commit();
    products_wait<1>();
    give_back(held_);
    held_ = stage_;
    advance();
  }
  __device__ void finish() {
    products_wait<0>();
    give_back(held_);
    held_ = -1;
  }
  /// Steps over a stage. The caller has finished: the stage it holds may be the one to be filled next.
  __device__ void skip(int group) {
    wait();
    group_barrier(group);
    give_back(stage_);
    advance();
  }

 private:
  __device__ uint32_t full(int i) const { return barriers_ + 8 * i; }
  __device__ uint32_t empty(int i) const { return barriers_ + 8 * (kStages + i); }
  /// One arrival for a warpgroup: when its products are done, all its warps have begun them.
  __device__ void give_back(int stage) const {
    if (stage >= 0 && threadIdx.x % kGroupThreads == 0) barrier_arrive(empty(stage));
  }

  uint32_t stages_, barriers_, parity_ = 0;
  int stage_ = 0, held_ = -1;
};

}  // namespace retain::cuda::hopper
