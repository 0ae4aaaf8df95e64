// The runs of a study, read from any table: runs.csv of `retain study collect`, or a published one whose columns are
// named by a map. What cannot be fitted is set aside with its reason, never dropped silently.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace retain {

/// The ways of counting a model's parameters, by the columns of runs.csv.
enum class Counting : uint8_t { kAll, kNonEmbedding, kBlocks };
inline constexpr int kCountings = 3;
const char* counting_name(Counting counting);  ///< "all", "non-embedding", "blocks"

struct StudyRun {
  std::string id;  ///< run_id, or "line 12" of the table
  int64_t line = 0;
  double params = 0, tokens = 0, flops = 0;  ///< N, D, C
  double loss = 0;                           ///< nats (or bits) a token
  /// As the columns count; the first is `params`. Nothing where the table does not say.
  std::array<std::optional<double>, kCountings> counted;
  std::string schedule, eval_set, seed;  ///< "" where the table has none
  bool held_out = false;

  double tokens_per_param() const { return tokens / params; }
};

/// Which column holds what: "N='Model Size',C='Training FLOP',L=loss". The names are N, D, C, L, N_non_embedding,
/// N_blocks, id, seed, schedule, eval_set, status; one that is not given is the column of runs.csv.
struct ColumnMap {
  std::string text;                                          ///< as it was given
  std::vector<std::pair<std::string, std::string>> columns;  ///< name, column
};
/// Throws Error(kUsage).
ColumnMap parse_column_map(const std::string& text);

/// A condition on a row, such as "params>1e9" or "eval_set=book": a column or a name of the map, or D/N; one of
/// = != < <= > >=; a number (1e9, 6.7B, 64Ki) or, after = and !=, a text.
struct RowFilter {
  std::string text, column, op, value;
};
/// Throws Error(kUsage).
RowFilter parse_row_filter(const std::string& text);

/// "6.7B", "100e9", "64Ki": a number with k, M, B (or G), T, or Ki, Mi, Gi behind it; nothing if it is none.
std::optional<double> parse_quantity(std::string_view text);

struct ExcludedRow {
  enum class Why : uint8_t { kStatus, kDiverged, kFilter, kNoLoss };
  std::string id;
  Why why = Why::kStatus;
  std::string reason;
};

struct RunsTable {
  std::string path;
  uint64_t checksum = 0;       ///< XXH3-64 of the file
  std::vector<StudyRun> runs;  ///< done, with a loss, and kept by every filter
  std::vector<ExcludedRow> excluded;
};

struct RunsQuery {
  ColumnMap map;
  std::vector<RowFilter> only;       ///< a row must pass all
  std::optional<RowFilter> holdout;  ///< marks StudyRun::held_out
};

/// Throws Error(kMissingInput) without the file; Error(kData) "PATH:LINE:COLUMN: …" where a number is none or not
/// positive, a column is missing, or rows of several evaluation sets are left; Error(kUsage) where map or filter name
/// no column.
RunsTable read_runs(const std::string& path, const RunsQuery& query);

/// RunsTable::checksum of a file.
uint64_t table_checksum(const std::string& path);

}  // namespace retain
