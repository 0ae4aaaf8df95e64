#include "trainer/numerics/naming.h"

#include "kernels/backend.h"
#include "parallel/host_name.h"

namespace retain {

std::string describe_place(const Mesh& mesh, const Backend& backend) {
  const std::string device = backend.device_place();
  return concat("rank ", mesh.world_rank(), " on host ", host_name(), device.empty() ? "" : ", ", device);
}

std::string describe_bucket(const ParameterLayout& layout, size_t bucket) {
  const Range range = layout.buckets[bucket];
  const ParameterSpec *first = nullptr, *last = nullptr;
  for (const ParameterSpec& spec : layout.parameters) {
    if (spec.flat_offset < range.begin || spec.flat_offset >= range.end) continue;
    if (!first || spec.flat_offset < first->flat_offset) first = &spec;
    if (!last || spec.flat_offset > last->flat_offset) last = &spec;
  }
  const std::string name = concat("bucket ", bucket);
  if (!first) return name;
  return first == last ? concat(name, " (", first->name, ")")
                       : concat(name, " (", first->name, " to ", last->name, ")");
}

}  // namespace retain
