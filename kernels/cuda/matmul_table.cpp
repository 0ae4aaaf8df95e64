#include "kernels/cuda/matmul_table.h"

#include <iomanip>
#include <sstream>

#include "kernels/core/error.h"

namespace retain::cuda {

std::string write_table(const std::string& origin, const MatmulTable& table) {
  std::ostringstream out;
  out << origin << '\n';
  for (const auto& [key, algorithm] : table) {
    for (const int64_t value : key) out << std::dec << value << ' ';
    out << ':' << std::hex << std::setfill('0');
    for (const uint64_t word : algorithm) out << ' ' << std::setw(16) << word;
    out << '\n';
  }
  return out.str();
}

TableReading read_table(const std::string& text, const std::string& origin, size_t key_fields) {
  TableReading reading;
  std::istringstream in(text);
  std::string line;
  std::getline(in, line);
  if (line != origin) {
    reading.refusal = concat("it is of '", line, "', this is '", origin, "'");
    return reading;
  }
  while (std::getline(in, line)) {
    std::istringstream fields(line);
    std::vector<int64_t> key(key_fields);
    std::array<uint64_t, 8> algorithm{};
    std::string colon, rest;
    for (int64_t& value : key) fields >> value;
    fields >> colon >> std::hex;
    for (uint64_t& word : algorithm) fields >> word;
    if (!fields || colon != ":" || fields >> rest) return {.table = {}, .refusal = concat("damaged line '", line, "'")};
    reading.table[key] = algorithm;
  }
  return reading;
}

}  // namespace retain::cuda
