// Curves made of characters, for a terminal. Pure.
#pragma once

#include <string>
#include <vector>

namespace retain {

/// The mean of each of `columns` equal parts of the values, in order; all values where they are fewer. Of a part that
/// holds none the value before. NaN is no value.
std::vector<double> bin_means(const std::vector<double>& values, int columns);

/// `rows` lines, the highest first, in which column i is filled up to values[i], the least being nearly empty and the
/// greatest full: by eighths of a character, or by whole ones in plain ASCII. What is not finite stays empty.
std::vector<std::string> draw_columns(const std::vector<double>& values, int rows, bool ascii);

}  // namespace retain
