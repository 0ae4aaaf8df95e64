// Comma-separated values as RFC 4180 writes them: fields may be quoted, with "" for a quote, and hold commas and line
// breaks. Every field knows its line and column, so that what is wrong with it can be shown where it stands.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace retain {

struct CsvField {
  std::string text;
  int64_t line = 1, column = 1;  ///< where it begins; columns count bytes
};

struct CsvTable {
  std::string path;  ///< as messages name it
  std::vector<CsvField> header;
  std::vector<std::vector<CsvField>> rows;  ///< each as long as the header; lines without a character are left out

  /// Place of a column; -1 if there is none of that name.
  int64_t find(std::string_view name) const;
  /// "a.csv:3:7: PROBLEM" as Error(kData).
  [[noreturn]] void refuse(const CsvField& field, const std::string& problem) const;
};

/// Throws Error(kData) "PATH:LINE:COLUMN: …" for a quote out of place or never closed, a row of another length than the
/// header, a column whose name stands twice, or a table without a header.
CsvTable parse_csv(std::string_view text, const std::string& path);

/// Fields with commas between, in quotes where they hold a comma, a quote or a line's end; ends with a new line.
std::string csv_line(const std::vector<std::string>& fields);

}  // namespace retain
