#include "parallel/host_reduce.h"

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <type_traits>

namespace retain {
namespace {

// Elements of a block: stays in the first-level cache while every part is added to it.
constexpr int64_t kBlock = 2048;

template <class T, class Combine>
void reduce_blocks(T* out, std::span<const void* const> parts, int64_t count, Combine combine) {
  std::array<T, kBlock> sum;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    std::copy_n(static_cast<const T*>(parts[0]) + begin, n, sum.data());
    for (const void* part : parts.subspan(1)) {
      const T* x = static_cast<const T*>(part) + begin;
      for (int64_t i = 0; i < n; ++i) sum[i] = combine(sum[i], x[i]);
    }
    std::copy_n(sum.data(), n, out + begin);
  }
}

template <class T>
void reduce_typed(ReduceOp op, void* out_bytes, std::span<const void* const> parts, int64_t count) {
  T* out = static_cast<T*>(out_bytes);
  switch (op) {
    case ReduceOp::kSum:
      if constexpr (std::integral<T>) {  // unsigned, so that overflow wraps instead of being undefined
        using U = std::make_unsigned_t<T>;
        reduce_blocks(out, parts, count,
                      [](T a, T b) { return static_cast<T>(static_cast<U>(a) + static_cast<U>(b)); });
      } else {
        reduce_blocks(out, parts, count, [](T a, T b) { return a + b; });
      }
      return;
    case ReduceOp::kMax: reduce_blocks(out, parts, count, [](T a, T b) { return std::max(a, b); }); return;
    case ReduceOp::kMin: reduce_blocks(out, parts, count, [](T a, T b) { return std::min(a, b); }); return;
  }
}

}  // namespace

void check_host_reducible(DType dtype) {
  RETAIN_CHECK(dtype != DType::kBfloat16,
               "host communicators do not reduce bfloat16, whose sums would lose bits with every rank; reduce float32");
}

void reduce_in_order(ReduceOp op, DType dtype, void* out, std::span<const void* const> parts, int64_t count) {
  check_host_reducible(dtype);
  switch (dtype) {
    case DType::kFloat32: return reduce_typed<float>(op, out, parts, count);
    case DType::kFloat64: return reduce_typed<double>(op, out, parts, count);
    case DType::kInt32: return reduce_typed<int32_t>(op, out, parts, count);
    case DType::kUint8: return reduce_typed<uint8_t>(op, out, parts, count);
    case DType::kBfloat16: return;
  }
}

}  // namespace retain
