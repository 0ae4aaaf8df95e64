// The second solver, which shares no line with the first: all constants at once by Ceres' Levenberg–Marquardt from many
// random starts. multistart_ceres.cpp, or no_ceres.cpp where Retain was built without it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "trainer/study/law.h"
#include "trainer/study/projection.h"

namespace retain {

bool have_ceres();

/// The best of so many starts (the law is centred), on the objective of fit_by_projection with all weights 1; nothing
/// without Ceres. Starts are drawn as Hoffmann et al. 2022 lay their grid: α, β in [0, 2], ln E in [−1, 1], ln A and ln
/// B in [0, 25]. Equal for equal seeds on any number of threads.
std::optional<SearchedFit> fit_by_multistart(const LawForm& form, const LawPoints& points, double delta, int starts,
                                             uint64_t seed, int threads);

}  // namespace retain
