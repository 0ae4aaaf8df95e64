#include "trainer/study/runs_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "trainer/checkpoint/checksum.h"
#include "trainer/file.h"
#include "trainer/study/csv.h"

namespace retain {
namespace {

std::string read_table(const std::string& path) {
  constexpr int64_t kLimitBytes = int64_t{256} << 20;
  return read_text(File::open_given(path), kLimitBytes);
}

uint64_t checksum_of(const std::string& text) { return checksum(text.data(), static_cast<int64_t>(text.size())); }

struct KnownColumn {
  const char* name;    ///< in a map
  const char* column;  ///< of runs.csv
};
constexpr KnownColumn kKnown[] = {{"N", "params"},
                                  {"D", "tokens"},
                                  {"C", "flops"},
                                  {"L", "loss"},
                                  {"N_non_embedding", "params_non_embedding"},
                                  {"N_blocks", "params_blocks"},
                                  {"id", "run_id"},
                                  {"seed", "seed"},
                                  {"schedule", "schedule"},
                                  {"eval_set", "eval_set"},
                                  {"status", "status"}};
constexpr const char* kRatio = "D/N";

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string map_names() {
  std::vector<std::string> names;
  for (const KnownColumn& known : kKnown) names.emplace_back(known.name);
  return joined(names);
}

[[noreturn]] void refuse_usage(const std::string& message) { throw Error(ErrorKind::kUsage, message); }

std::string without_quotes(const std::string& text) {
  const bool quoted = text.size() >= 2 && (text.front() == '\'' || text.front() == '"') && text.back() == text.front();
  return quoted ? text.substr(1, text.size() - 2) : text;
}

/// At commas that no quotes hold.
std::vector<std::string> split_map(const std::string& text) {
  std::vector<std::string> pieces(1);
  char quote = 0;
  for (const char c : text) {
    if (quote == 0 && c == ',') {
      pieces.emplace_back();
      continue;
    }
    if (quote == c) {
      quote = 0;
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    }
    pieces.back() += c;
  }
  return pieces;
}

using Row = std::vector<CsvField>;

/// Rows of one table under one map.
class RowReader {
 public:
  RowReader(const CsvTable& table, const ColumnMap& map) : table_(table), map_(map) { check_columns(); }

  StudyRun run(const Row& row) const;
  bool keeps(const RowFilter& filter, const Row& row) const;
  std::string text(const Row& row, const std::string& name) const {
    const CsvField* field = find(row, name);
    return field ? field->text : "";
  }
  /// The loss, if there is one: a positive number. Throws where there is something that is no number.
  std::optional<double> loss(const Row& row) const;

 private:
  void check_columns() const;
  std::string column_of(const std::string& name) const;
  bool has(const std::string& name) const { return table_.find(column_of(name)) >= 0; }
  const CsvField* find(const Row& row, const std::string& name) const {
    const int64_t place = table_.find(column_of(name));
    return place < 0 ? nullptr : &row[static_cast<size_t>(place)];
  }
  double positive(const Row& row, const std::string& name) const;
  double value_of(const std::string& name, const Row& row) const;

  const CsvTable& table_;
  const ColumnMap& map_;
};

std::string RowReader::column_of(const std::string& name) const {
  for (const auto& [mapped, column] : map_.columns)
    if (mapped == name) return column;
  for (const KnownColumn& known : kKnown)
    if (name == known.name) return known.column;
  return name;
}

void RowReader::check_columns() const {
  std::vector<std::string> columns;
  for (const CsvField& field : table_.header) columns.push_back(field.text);
  for (const auto& [name, column] : map_.columns)
    if (table_.find(column) < 0)
      refuse_usage(fmt::format("--map {}={}: {} has no such column; its columns are {}", name, in_quotes(column),
                               table_.path, joined(columns)));
  const auto refuse = [&](const std::string& what, const std::string& remedy) {
    table_.refuse(table_.header.front(),
                  fmt::format("no column {}; the columns are {}; name the right one with --map {}", what,
                              joined(columns), remedy));
  };
  if (!has("N")) refuse("'params' (N)", "N=COLUMN");
  if (!has("L")) refuse("'loss' (L)", "L=COLUMN");
  if (!has("D") && !has("C")) refuse("'tokens' (D) nor 'flops' (C), of which one is needed", "D=COLUMN or C=COLUMN");
}

double RowReader::positive(const Row& row, const std::string& name) const {
  const CsvField& field = *find(row, name);
  const std::optional<double> value = parse_quantity(field.text);
  if (!value || !(*value > 0))
    table_.refuse(field, fmt::format("found {} in column {}, want a positive number", in_quotes(field.text),
                                     in_quotes(column_of(name))));
  return *value;
}

std::optional<double> RowReader::loss(const Row& row) const {
  const CsvField& field = *find(row, "L");
  if (field.text.empty()) return std::nullopt;
  const std::optional<double> value = parse_quantity(field.text);
  if (!value)
    table_.refuse(field, fmt::format("found {} in column {}, want a loss or nothing", in_quotes(field.text),
                                     in_quotes(column_of("L"))));
  if (!std::isfinite(*value) || *value <= 0) return std::nullopt;
  return value;
}

StudyRun RowReader::run(const Row& row) const {
  StudyRun run;
  run.line = row.front().line;
  run.id = text(row, "id");
  if (run.id.empty()) run.id = fmt::format("line {}", run.line);
  run.params = positive(row, "N");
  run.tokens = has("D") ? positive(row, "D") : positive(row, "C") / (6 * run.params);
  run.flops = has("C") ? positive(row, "C") : 6 * run.params * run.tokens;
  run.loss = *loss(row);
  run.counted[0] = run.params;
  const char* const others[] = {"N_non_embedding", "N_blocks"};
  for (size_t i = 0; i < std::size(others); ++i)
    if (has(others[i]) && !text(row, others[i]).empty()) run.counted[i + 1] = positive(row, others[i]);
  run.schedule = text(row, "schedule");
  run.eval_set = text(row, "eval_set");
  run.seed = text(row, "seed");
  return run;
}

double RowReader::value_of(const std::string& name, const Row& row) const {
  if (name == kRatio) {
    const double params = positive(row, "N");
    return (has("D") ? positive(row, "D") : positive(row, "C") / (6 * params)) / params;
  }
  const CsvField& field = *find(row, name);
  const std::optional<double> value = parse_quantity(field.text);
  if (!value)
    table_.refuse(field, fmt::format("found {} in column {}, want a number to compare", in_quotes(field.text),
                                     in_quotes(column_of(name))));
  return *value;
}

bool RowReader::keeps(const RowFilter& filter, const Row& row) const {
  if (filter.column != kRatio && !has(filter.column)) {
    std::vector<std::string> columns;
    for (const CsvField& field : table_.header) columns.push_back(field.text);
    refuse_usage(fmt::format("{}: {} has no column {}; its columns are {}", in_quotes(filter.text), table_.path,
                             in_quotes(filter.column), joined(columns)));
  }
  const std::optional<double> wanted = parse_quantity(filter.value);
  if (!wanted) return (text(row, filter.column) == filter.value) == (filter.op == "=");
  if (filter.column != kRatio && text(row, filter.column).empty()) return filter.op == "!=";
  const double found = value_of(filter.column, row);
  if (filter.op == "=") return found == *wanted;
  if (filter.op == "!=") return found != *wanted;
  if (filter.op == "<") return found < *wanted;
  if (filter.op == "<=") return found <= *wanted;
  if (filter.op == ">") return found > *wanted;
  return found >= *wanted;
}

/// Why a row is not fitted, if it is not.
std::optional<ExcludedRow> exclusion(const RowReader& reader, const Row& row, const std::vector<RowFilter>& only) {
  ExcludedRow excluded;
  excluded.id = reader.text(row, "id");
  if (excluded.id.empty()) excluded.id = fmt::format("line {}", row.front().line);
  const std::string status = reader.text(row, "status");
  if (status == "diverged") {
    excluded.why = ExcludedRow::Why::kDiverged;
    excluded.reason = "diverged";
    return excluded;
  }
  if (!status.empty() && status != "done") {
    excluded.reason = "status is " + status;
    return excluded;
  }
  for (const RowFilter& filter : only) {
    if (reader.keeps(filter, row)) continue;
    excluded.why = ExcludedRow::Why::kFilter;
    excluded.reason = "not " + filter.text;
    return excluded;
  }
  if (reader.loss(row)) return std::nullopt;
  excluded.why = ExcludedRow::Why::kNoLoss;
  excluded.reason = "no finite positive loss";
  return excluded;
}

void check_eval_sets(const RunsTable& table) {
  std::set<std::string> sets;
  for (const StudyRun& run : table.runs) sets.insert(run.eval_set);
  if (sets.size() <= 1) return;
  const std::vector<std::string> names(sets.begin(), sets.end());
  throw Error(ErrorKind::kData,
              fmt::format("{}: rows of {} evaluation sets ({}); a law is of one: add --only 'eval_set={}'", table.path,
                          names.size(), joined(names), names.back()));
}

}  // namespace

const char* counting_name(Counting counting) {
  constexpr const char* kNames[] = {"all", "non-embedding", "blocks"};
  return kNames[static_cast<int>(counting)];
}

std::optional<double> parse_quantity(std::string_view text) {
  const std::string number(text);
  if (number.empty() || number.front() == ' ') return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (end == number.c_str()) return std::nullopt;
  const std::string suffix(end);
  if (suffix.empty()) return value;
  constexpr std::pair<const char*, double> kSuffixes[] = {{"k", 1e3},  {"M", 1e6},     {"B", 1e9},     {"G", 1e9},
                                                          {"T", 1e12}, {"Ki", 1024.0}, {"Mi", 0x1p20}, {"Gi", 0x1p30}};
  for (const auto& [name, factor] : kSuffixes)
    if (suffix == name) return value * factor;
  return std::nullopt;
}

ColumnMap parse_column_map(const std::string& text) {
  ColumnMap map{.text = text, .columns = {}};
  if (text.empty()) return map;
  for (const std::string& piece : split_map(text)) {
    const size_t equals = piece.find('=');
    const std::string name = piece.substr(0, equals);
    const bool known =
        std::any_of(std::begin(kKnown), std::end(kKnown), [&](const KnownColumn& k) { return name == k.name; });
    if (equals == std::string::npos || !known)
      refuse_usage(fmt::format("--map: found {}, want NAME=COLUMN; the names are {}", in_quotes(piece), map_names()));
    for (const auto& [given, column] : map.columns)
      if (given == name) refuse_usage("--map: " + name + " is given twice");
    map.columns.emplace_back(name, without_quotes(piece.substr(equals + 1)));
  }
  return map;
}

RowFilter parse_row_filter(const std::string& text) {
  const size_t at = text.find_first_of("=!<>");
  RowFilter filter{.text = text, .column = text.substr(0, at), .op = "", .value = ""};
  if (at != std::string::npos) {
    const bool two = text.substr(at + 1, 1) == "=";
    filter.op = text.substr(at, two ? 2 : 1);
    filter.value = without_quotes(text.substr(at + filter.op.size()));
  }
  const bool legal = filter.op != "" && filter.op != "!" && filter.op != "==" && !filter.column.empty();
  const bool ordered = filter.op.find_first_of("<>") != std::string::npos;
  if (!legal || (ordered && !parse_quantity(filter.value)))
    refuse_usage(
        fmt::format("found {}, want COLUMN OPERATOR VALUE such as 'params>1e9' or 'eval_set=book'; the operators "
                    "are = != < <= > >=",
                    in_quotes(text)));
  return filter;
}

RunsTable read_runs(const std::string& path, const RunsQuery& query) {
  const std::string text = read_table(path);
  const CsvTable csv = parse_csv(text, path);
  const RowReader reader(csv, query.map);
  RunsTable table;
  table.path = path;
  table.checksum = checksum_of(text);
  for (const Row& row : csv.rows) {
    if (std::optional<ExcludedRow> excluded = exclusion(reader, row, query.only)) {
      table.excluded.push_back(*excluded);
      continue;
    }
    table.runs.push_back(reader.run(row));
    table.runs.back().held_out = query.holdout && reader.keeps(*query.holdout, row);
  }
  check_eval_sets(table);
  return table;
}

uint64_t table_checksum(const std::string& path) { return checksum_of(read_table(path)); }

}  // namespace retain
