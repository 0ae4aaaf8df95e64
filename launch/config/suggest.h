// "did you mean …?": the nearest of some known words.
#pragma once

#include <string>
#include <vector>

namespace retain {

/// Insertions, deletions, replacements and swaps of neighbours that make one word of the other.
int edit_distance(const std::string& a, const std::string& b);

/// The candidate nearest to `word`, or "" when none is within a third of its length.
/// Capitals count as small letters. "gpu" and other people's words of that kind mean ours, if it is a candidate.
std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates);

/// The configuration that somebody most likely meant who named a file that is not there: the same name with another
/// ending, in a folder configs/ here, above or of the program, or a name near it in the same folder; "" when there is
/// none.
std::string nearest_file(const std::string& name);

/// "did you mean 'lr'?" for such a candidate, "" for none.
std::string did_you_mean(const std::string& nearest);

}  // namespace retain
