#include "trainer/model/declarations.h"

#include <algorithm>

namespace retain {

Declarations Declarations::within(const std::string& name) const {
  Declarations inner = *this;
  inner.prefix_ += name;
  return inner;
}

Declarations Declarations::in_part(int64_t part) const {
  Declarations other = *this;
  other.part_ = part;
  return other;
}

Parameter Declarations::matrix(const std::string& name, TpCut cut, int64_t rows, int64_t columns,
                               const Scaling& scaling, ParameterUse use) const {
  declared_.parameters.push_back({.name = prefix_ + name,
                                  .use = use,
                                  .cut = cut,
                                  .part = part_,
                                  .rows = rows,
                                  .columns = columns,
                                  .scaling = scaling});
  return views(prefix_ + name, prefix_ + name);
}

Parameter Declarations::adjacent_matrices(const std::vector<Rows>& parts, int64_t columns) const {
  for (const Rows& part : parts) {
    matrix(part.name, TpCut::kRows, part.rows, columns, part.scaling);
    declared_.parameters.back().adjacent = &part != &parts.front();
  }
  return views(prefix_ + parts.front().name, prefix_ + parts.back().name);
}

Parameter Declarations::norm(const std::string& name, int64_t size, ParameterUse use, const Scaling& scaling) const {
  declared_.parameters.push_back({.name = prefix_ + name, .use = use, .part = part_, .rows = size, .scaling = scaling});
  return views(prefix_ + name, prefix_ + name, true);
}

Parameter Declarations::product_with(const std::string& name) const {
  const auto found = std::find_if(declared_.parameters.begin(), declared_.parameters.end(),
                                  [&](const DeclaredParameter& p) { return p.name == name; });
  RETAIN_CHECK(found != declared_.parameters.end(), "no layer declared ", name);
  found->use = ParameterUse::kProduct;
  found->shared = true;
  return views(name, name);
}

Parameter Declarations::views(const std::string& first, const std::string& last, bool norm) const {
  if (!store_) return {};
  Parameter views{.weight = norm ? store_->norm_weight(first) : store_->fused_weight(first, last), .gradient = {}};
  if (residency_ == Residency::kTraining) {
    views.gradient = norm ? store_->gradient(first) : store_->fused_gradient(first, last);
  }
  return views;
}

}  // namespace retain
