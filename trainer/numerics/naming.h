// What people are told of where numbers went wrong: a rank with its machine and device, a bucket with its parameters.
#pragma once

#include <string>

#include "parallel/mesh.h"
#include "trainer/model/parameter_layout.h"

namespace retain {

/// "rank 3 on host node7, GPU 0000:1B:00.0", of this rank.
std::string describe_place(const Mesh& mesh, const Backend& backend);

/// "bucket 2 (layers.1.ffn.down_proj.weight to layers.0.retention.q_proj.weight)"
std::string describe_bucket(const ParameterLayout& layout, size_t bucket);

}  // namespace retain
