// "did you mean …?": the nearest of some known words.
#pragma once

#include <string>
#include <vector>

namespace retain {

/// Insertions, deletions, replacements and swaps of neighbours that make one word of the other.
int edit_distance(const std::string& a, const std::string& b);

/// The candidate nearest to `word`, or "" when none is within a third of its length.
/// Capitals count as small letters.
std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates);

/// "did you mean 'lr'?" for such a candidate, "" for none.
std::string did_you_mean(const std::string& nearest);

}  // namespace retain
