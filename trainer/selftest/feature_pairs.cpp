#include "trainer/selftest/feature_pairs.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <set>

namespace retain {

namespace {

using Pair = std::array<int, 4>;  // two features and their values

std::vector<Pair> pairs_in(const FeatureRow& row) {
  std::vector<Pair> pairs;
  for (size_t a = 0; a < row.size(); ++a) {
    for (size_t b = a + 1; b < row.size(); ++b) {
      pairs.push_back({static_cast<int>(a), row[a], static_cast<int>(b), row[b]});
    }
  }
  return pairs;
}

}  // namespace

std::vector<FeatureRow> all_rows(const std::vector<int>& values, const std::function<bool(const FeatureRow&)>& legal) {
  std::vector<FeatureRow> rows;
  FeatureRow row(values.size(), 0);
  for (;;) {
    if (legal(row)) rows.push_back(row);
    size_t last = row.size();
    while (last > 0 && row[last - 1] + 1 == values[last - 1]) row[--last] = 0;
    if (last == 0) return rows;
    ++row[last - 1];
  }
}

std::vector<FeatureRow> pairs_of(const std::vector<FeatureRow>& rows) {
  std::set<Pair> missing;
  for (const FeatureRow& row : rows) {
    for (const Pair& pair : pairs_in(row)) missing.insert(pair);
  }
  std::vector<FeatureRow> chosen;
  while (!missing.empty()) {
    const FeatureRow* best = nullptr;
    std::ptrdiff_t most = 0;
    for (const FeatureRow& row : rows) {
      const std::vector<Pair> pairs = pairs_in(row);
      const std::ptrdiff_t brings =
          std::count_if(pairs.begin(), pairs.end(), [&](const Pair& pair) { return missing.contains(pair); });
      if (brings > most) {
        most = brings;
        best = &row;
      }
    }
    for (const Pair& pair : pairs_in(*best)) missing.erase(pair);
    chosen.push_back(*best);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace retain
