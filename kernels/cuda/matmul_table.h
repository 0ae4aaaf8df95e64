// The text in which the algorithms of matrix products are kept between runs: a first line with everything that a choice
// depends on, then a line for each product. Knows no CUDA.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace retain::cuda {

/// By the numbers that describe a product, the words of the algorithm chosen for it.
using MatmulTable = std::map<std::vector<int64_t>, std::array<uint64_t, 8>>;

/// `origin`, one line, says which program, library and device the choices are of.
std::string write_table(const std::string& origin, const MatmulTable& table);

/// What was read, or why nothing was: another origin, or a line that is not `key_fields` numbers, a colon and eight
/// words.
struct TableReading {
  MatmulTable table;
  std::string refusal;  ///< empty when the table was read
};
TableReading read_table(const std::string& text, const std::string& origin, size_t key_fields);

}  // namespace retain::cuda
