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

// What elements of a type are added in.
template <class T>
T widened(T x) {
  return x;
}
float widened(Bfloat16 x) { return x.to_float(); }

template <class T>
void round_to(T& out, T x) {
  out = x;
}
void round_to(Bfloat16& out, float x) { out = Bfloat16::from_float(x); }

template <class T, class Combine>
void reduce_blocks(T* out, std::span<const void* const> parts, int64_t count, Combine combine) {
  std::array<decltype(widened(T{})), kBlock> sum;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    const T* first = static_cast<const T*>(parts[0]) + begin;
    for (int64_t i = 0; i < n; ++i) sum[i] = widened(first[i]);
    for (const void* part : parts.subspan(1)) {
      const T* x = static_cast<const T*>(part) + begin;
      for (int64_t i = 0; i < n; ++i) sum[i] = combine(sum[i], widened(x[i]));
    }
    for (int64_t i = 0; i < n; ++i) round_to(out[begin + i], sum[i]);
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
        reduce_blocks(out, parts, count, [](auto a, auto b) { return a + b; });
      }
      return;
    case ReduceOp::kMax: reduce_blocks(out, parts, count, [](auto a, auto b) { return std::max(a, b); }); return;
    case ReduceOp::kMin: reduce_blocks(out, parts, count, [](auto a, auto b) { return std::min(a, b); }); return;
  }
}

}  // namespace

void reduce_in_order(ReduceOp op, DType dtype, void* out, std::span<const void* const> parts, int64_t count) {
  switch (dtype) {
    case DType::kFloat32: return reduce_typed<float>(op, out, parts, count);
    case DType::kFloat64: return reduce_typed<double>(op, out, parts, count);
    case DType::kInt32: return reduce_typed<int32_t>(op, out, parts, count);
    case DType::kUint8: return reduce_typed<uint8_t>(op, out, parts, count);
    case DType::kBfloat16: return reduce_typed<Bfloat16>(op, out, parts, count);
  }
}

}  // namespace retain
