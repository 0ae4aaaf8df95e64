#include "trainer/model/declarations.h"

#include <algorithm>

namespace retain {

Declarations Declarations::within(const std::string& name) const {
  Declarations inner = *this;
  inner.prefix_ += name;
  return inner;
}

void Declarations::add(DeclaredParameter parameter) const {
  parameter.name = prefix_ + parameter.name;
  declared_.parameters.push_back(std::move(parameter));
}

Parameter Declarations::matrix(const std::string& name, TpCut cut, int64_t rows, int64_t columns, double init_std,
                               ParameterUse use) const {
  add({.name = name, .use = use, .cut = cut, .rows = rows, .columns = columns, .init_std = init_std});
  return views(prefix_ + name, prefix_ + name);
}

Parameter Declarations::adjacent_matrices(const std::vector<Rows>& parts, int64_t columns, double init_std) const {
  for (const Rows& part : parts) {
    add({.name = part.name,
         .cut = TpCut::kRows,
         .rows = part.rows,
         .columns = columns,
         .init_std = init_std,
         .adjacent = &part != &parts.front()});
  }
  return views(prefix_ + parts.front().name, prefix_ + parts.back().name);
}

Parameter Declarations::norm(const std::string& name, int64_t size) const {
  add({.name = name, .use = ParameterUse::kNorm, .rows = size});
  return norm_views(prefix_ + name);
}

Parameter Declarations::group_norm(const std::string& name, int64_t size) const {
  add({.name = name, .use = ParameterUse::kGroupNorm, .rows = size});
  return norm_views(prefix_ + name);
}

Parameter Declarations::product_with(const std::string& name) const {
  const auto found = std::find_if(declared_.parameters.begin(), declared_.parameters.end(),
                                  [&](const DeclaredParameter& p) { return p.name == name; });
  RETAIN_CHECK(found != declared_.parameters.end(), "no layer declared ", name);
  found->use = ParameterUse::kProduct;
  return views(name, name);
}

Parameter Declarations::views(const std::string& first, const std::string& last) const {
  if (!store_) return {};
  return {.weight = store_->fused_weight(first, last),
          .gradient = residency_ == Residency::kTraining ? store_->fused_gradient(first, last) : TensorView{}};
}

Parameter Declarations::norm_views(const std::string& name) const {
  if (!store_) return {};
  return {.weight = store_->norm_weight(name),
          .gradient = residency_ == Residency::kTraining ? store_->gradient(name) : TensorView{}};
}

}  // namespace retain
