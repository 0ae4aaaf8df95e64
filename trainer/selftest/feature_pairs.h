// Which combinations of features are worth a run: few that hold every pair of values (pairwise testing: Cohen et al.
// 1997, AETG), since faults of composed features mostly need two of them.
#pragma once

#include <functional>
#include <vector>

namespace retain {

/// One value, an index, of each feature.
using FeatureRow = std::vector<int>;

/// All rows of features with so many values each for which legal(row) holds, in lexical order.
std::vector<FeatureRow> all_rows(const std::vector<int>& values, const std::function<bool(const FeatureRow&)>& legal);

/// Of these rows a subset, in their order, in which every pair of values of two features stands that stands in any:
/// each next row is one that brings the most pairs.
std::vector<FeatureRow> pairs_of(const std::vector<FeatureRow>& rows);

}  // namespace retain
