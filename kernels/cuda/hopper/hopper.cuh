// The instructions of sm_90a that a kernel fed by the copy engine (TMA) uses: mbarriers, tensor copies to shared
// memory, and warpgroup products. Operands in shared memory lie in boxes of 64 bf16 columns (128 bytes a row) with the
// 128-byte swizzle, as the copy engine writes them; a box begins at a multiple of 1,024 bytes. PTX ISA 8.0, sections on
// mbarrier, cp.async.bulk.tensor and wgmma.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

namespace retain::cuda::hopper {

inline constexpr int kBoxColumns = 64;
inline constexpr int kBoxRowBytes = 128;

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// ---- mbarriers; each phase ends when all arrivals and all announced bytes are there ----

__device__ __forceinline__ void barrier_init(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}
/// Makes initialised barriers known to the copy engine.
__device__ __forceinline__ void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void barrier_expect(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
/// Waits for the end of the phase of this parity.
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity) {
  uint32_t done = 0;
  do {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n"
        "}\n"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
  } while (!done);
}

// ---- Tensor copies: a box of `map` at these coordinates (innermost first) into shared memory ----

/// Of a tensor of four dimensions.
__device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap& map, uint32_t barrier, int x, int y, int z,
                                         int w) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
}
/// Of a tensor of five dimensions.
__device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap& map, uint32_t barrier, int x, int y, int z,
                                         int w, int v) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], "
      "[%2];" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w), "r"(v)
      : "memory");
}
/// From shared memory to a tensor of five dimensions; copies_commit() ends a group of them.
__device__ __forceinline__ void store_box(const CUtensorMap& map, uint32_t from, int x, int y, int z, int w, int v) {
  asm volatile("cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5, %6}], [%1];" ::"l"(&map),
               "r"(from), "r"(x), "r"(y), "r"(z), "r"(w), "r"(v)
               : "memory");
}
__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Waits until this thread's stores have read shared memory; until they have been written.
__device__ __forceinline__ void copies_wait_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
__device__ __forceinline__ void copies_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
/// Makes this thread's ordinary stores to shared memory seen by the copy engine and the tensor cores, after a barrier.
__device__ __forceinline__ void fence_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ __forceinline__ uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// ---- Warpgroup products: d [64, N] (+)= a [64, 16] · b [16, N], b from shared memory ----
//
// Thread t of a warpgroup holds row 16 (t / 32) + (t % 32) / 4: its columns 8 j + 2 (t % 4) and the one after lie in
// d[4 j] and d[4 j + 1], those of the row eight below in d[4 j + 2] and d[4 j + 3].

/// The operand's rows are the product's rows (of a) or columns (of b), 16 contracted columns from `address` on.
__device__ __forceinline__ uint64_t row_operand(uint32_t address) {
  constexpr uint64_t kEightRows = 8 * kBoxRowBytes;
  return uint64_t{(address & 0x3FFFF) >> 4} | uint64_t{1} << 16 | (kEightRows >> 4) << 32 | uint64_t{1} << 62;
}
/// b's rows are contracted, 16 from `address` on; every 64 columns begin another box, `box_bytes` further.
__device__ __forceinline__ uint64_t transposed_operand(uint32_t address, int box_bytes) {
  constexpr uint64_t kEightRows = 8 * kBoxRowBytes;
  return uint64_t{(address & 0x3FFFF) >> 4} | uint64_t(box_bytes >> 4) << 16 | (kEightRows >> 4) << 32 |
         uint64_t{1} << 62;
}

/// Keeps ordinary instructions on these registers on their side of this line: the compiler does not know that products
/// go on with them after their instruction.
template <int kCount>
__device__ __forceinline__ void pin(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
template <int kRows, int kColumns>
__device__ __forceinline__ void pin(uint32_t (&a)[kRows][kColumns]) {
#pragma unroll
  for (int i = 0; i < kRows * kColumns; ++i) asm volatile("" : "+r"(a[i / kColumns][i % kColumns])::"memory");
}
/// Before the first product after registers of d (or of a) were written, which are pinned.
__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// Ends a group of products.
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits until at most kUnderWay groups of products are under way.
template <int kUnderWay>
__device__ __forceinline__ void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kUnderWay) : "memory");
}

// clang-format off
// The registers of d: their names in an instruction, and the operands that they are.
#define RETAIN_NAMES32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define RETAIN_NAMES64 \
  RETAIN_NAMES32 ", " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define RETAIN_NAMES128 \
  RETAIN_NAMES64 ", " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define RETAIN_D4(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define RETAIN_D16(i) RETAIN_D4(i), RETAIN_D4((i) + 4), RETAIN_D4((i) + 8), RETAIN_D4((i) + 12)
#define RETAIN_D32 RETAIN_D16(0), RETAIN_D16(16)
#define RETAIN_D64 RETAIN_D32, RETAIN_D16(32), RETAIN_D16(48)
#define RETAIN_D128 RETAIN_D64, RETAIN_D16(64), RETAIN_D16(80), RETAIN_D16(96), RETAIN_D16(112)

template <bool kTransposeA, bool kTransposeB>
__device__ __forceinline__ void multiply(float (&d)[32], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" RETAIN_NAMES32
      "}, %32, %33, accumulate, 1, 1, %35, %36;\n"
      "}\n"
      : RETAIN_D32
      : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposeA ? 1 : 0), "n"(kTransposeB ? 1 : 0));
}

template <bool kTransposeA, bool kTransposeB>
__device__ __forceinline__ void multiply(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" RETAIN_NAMES64
      "}, %64, %65, accumulate, 1, 1, %67, %68;\n"
      "}\n"
      : RETAIN_D64
      : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposeA ? 1 : 0), "n"(kTransposeB ? 1 : 0));
}

template <bool kTransposeB>
__device__ __forceinline__ void multiply(float (&d)[64], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" RETAIN_NAMES64
      "}, {%64, %65, %66, %67}, %68, accumulate, 1, 1, %70;\n"
      "}\n"
      : RETAIN_D64
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(kTransposeB ? 1 : 0));
}

template <bool kTransposeA, bool kTransposeB>
__device__ __forceinline__ void multiply(float (&d)[128], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" RETAIN_NAMES128
      "}, %128, %129, accumulate, 1, 1, %131, %132;\n"
      "}\n"
      : RETAIN_D128
      : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposeA ? 1 : 0), "n"(kTransposeB ? 1 : 0));
}

template <bool kTransposeB>
__device__ __forceinline__ void multiply(float (&d)[128], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred accumulate;\n"
      "setp.ne.b32 accumulate, %133, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" RETAIN_NAMES128
      "}, {%128, %129, %130, %131}, %132, accumulate, 1, 1, %134;\n"
      "}\n"
      : RETAIN_D128
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(kTransposeB ? 1 : 0));
}
// clang-format on

#undef RETAIN_D128
#undef RETAIN_D64
#undef RETAIN_D32
#undef RETAIN_D16
#undef RETAIN_D4
#undef RETAIN_NAMES128
#undef RETAIN_NAMES64
#undef RETAIN_NAMES32

/// Stores four 8 x 8 matrices of bf16, of which the warp's threads hold pairs in x; thread i gives the address of row i
/// % 8 of matrix i / 8.
__device__ __forceinline__ void store_matrices(uint32_t address, const uint32_t (&x)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(x[0]), "r"(x[1]),
               "r"(x[2]), "r"(x[3])
               : "memory");
}

/// A warpgroup's share of the registers, from here on (a multiple of 8).
template <int kRegisters>
__device__ __forceinline__ void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace retain::cuda::hopper
