#include "trainer/study/multistart.h"

namespace retain {

bool have_ceres() { return false; }

std::optional<SearchedFit> fit_by_multistart(const LawForm&, const LawPoints&, double, int, uint64_t, int) {
  return std::nullopt;
}

}  // namespace retain
