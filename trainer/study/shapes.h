// From a number of parameters to a shape that kernels and layouts take. Pure.
//
// hidden_size is a multiple of 64 on GPUs, of 128 above 512, and of 16 on CPUs. A head has the largest of 256, 128 and
// 64 keys (on CPUs also 32, 16 and 8) that leaves 4 heads or more, else the smallest, and there are at least 2: RetNet
// has a decay per head. head_dim says another one. tp divides heads and ffn_size, which is the nearest multiple of
// hidden_size's unit to ffn_ratio * hidden_size. Of all such shapes of 2 layers or more whose N is within 5 % of what
// is asked, the one is taken whose hidden_size / layers is nearest to width_per_layer; where there is none, the one
// whose N is nearest.
#pragma once

#include "trainer/study/counts.h"

namespace retain::study {

inline constexpr double kShapeTolerance = 0.05;

/// The base model with the widths of this size. Throws ConfigError(kConfig) naming the size where no shape comes near.
ModelConfig shape_of(const Size& size, const Study& study);

}  // namespace retain::study
