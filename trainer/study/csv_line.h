// A record of a CSV file as RFC 4180 has it. Pure.
#pragma once

#include <string>
#include <vector>

namespace retain::study {

/// Fields with commas between, in quotes where they hold a comma, a quote or a line's end; ends with a new line.
std::string csv_line(const std::vector<std::string>& fields);

}  // namespace retain::study
