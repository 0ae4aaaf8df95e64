#include "trainer/study/runs_csv.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <set>

#include "trainer/file.h"
#include "trainer/study/csv.h"

namespace retain::study {
namespace {

constexpr int64_t kLargestTable = int64_t{64} << 20;  // bytes

// Up to `batch` a row says what was planned, but for the loss.
constexpr std::array kColumns = {"run_id",
                                 "params",
                                 "params_non_embedding",
                                 "params_blocks",
                                 "tokens",
                                 "flops",
                                 "flops_6nd",
                                 "loss",
                                 "eval_set",
                                 "seed",
                                 "schedule",
                                 "lr",
                                 "batch",
                                 "status",
                                 "step_seconds",
                                 "tokens_per_second",
                                 "device",
                                 "build"};
constexpr std::array kSettings = {"params", "tokens", "seed", "schedule", "lr", "batch"};

constexpr size_t place(std::string_view column) {
  return static_cast<size_t>(std::ranges::find(kColumns, column) - kColumns.begin());
}

std::string digits(double number) { return std::isfinite(number) ? fmt::format("{}", number) : ""; }

bool is_over(const std::string& status) {
  return status == state_name(State::kDone) || status == state_name(State::kDiverged);
}

std::vector<std::string> fields_of(const PlannedRun& run, const Progress& p, const RunState& state,
                                   const std::string& set) {
  const bool done = state.state == State::kDone && p.eval_step == run.steps && p.eval_losses.contains(set);
  const auto measured = [&](double number) { return done ? digits(number) : ""; };
  return {run.name,
          std::to_string(run.parameters.all),
          std::to_string(run.parameters.non_embedding),
          std::to_string(run.parameters.blocks),
          std::to_string(run.tokens),
          digits(run.flops),
          digits(run.flops_6nd),
          done ? digits(p.eval_losses.at(set)) : "",
          set,
          std::to_string(run.seed),
          run.schedule,
          digits(run.lr),
          std::to_string(run.batch_tokens),
          state_name(state.state),
          measured(p.median_step_seconds),
          measured(static_cast<double>(run.batch_tokens) / p.median_step_seconds),
          done ? p.device : "",
          state.state == State::kDone || state.state == State::kDiverged ? p.build : ""};
}

/// "lr 0.01 instead of 0.02"; "" where the row was trained as the plan has it.
std::string other_settings(const std::vector<std::string>& row, const std::vector<std::string>& planned) {
  std::string text;
  for (const char* const column : kSettings) {
    const size_t i = place(column);
    if (row[i] != planned[i])
      text += fmt::format("{}{} {} instead of {}", text.empty() ? "" : ", ", column, row[i], planned[i]);
  }
  return text;
}

const FinishedRow* find(const std::vector<FinishedRow>& rows, const std::string& cell, const std::string& set) {
  const auto found =
      std::ranges::find_if(rows, [&](const FinishedRow& row) { return row.run_id == cell && row.eval_set == set; });
  return found == rows.end() ? nullptr : &*found;
}

/// Why the folder's row and a finished one of the same cell, set and build cannot both be right.
std::string conflict(const FinishedRow& before, const std::vector<std::string>& now) {
  const std::string settings = other_settings(before.fields, now);
  if (!settings.empty()) return "was trained with " + settings;
  const std::string &status = now[place("status")], &loss = now[place("loss")];
  if (before.build != now[place("build")] || !is_over(status)) return "";
  if (before.status != status) return fmt::format("is {} there and {} in the folder", before.status, status);
  return before.loss == loss ? "" : fmt::format("has the loss {} there and {} in the folder", before.loss, loss);
}

}  // namespace

std::vector<FinishedRow> read_runs_csv(const std::string& path) {
  const CsvTable table = parse_csv(read_text(File::open_input(path), kLargestTable), path);
  const bool ours = std::ranges::equal(table.header, kColumns, {}, &CsvField::text);
  if (!ours)
    table.refuse(table.header.front(),
                 "this is no table of `retain study collect`: its columns are others; give "
                 "another path");
  std::vector<FinishedRow> rows;
  for (const auto& fields : table.rows) {
    FinishedRow row;
    for (const CsvField& field : fields) row.fields.push_back(field.text);
    row.run_id = row.fields[place("run_id")];
    row.eval_set = row.fields[place("eval_set")];
    row.status = row.fields[place("status")];
    row.build = row.fields[place("build")];
    row.loss = row.fields[place("loss")];
    if (is_over(row.status)) rows.push_back(std::move(row));
  }
  return rows;
}

void take_finished(const Plan& plan, const std::vector<FinishedRow>& rows, const std::string& path,
                   std::vector<Progress>& progress, std::vector<RunState>& states) {
  std::string wrong;
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const PlannedRun& run = plan.runs[i];
    const bool over = states[i].state == State::kDone || states[i].state == State::kDiverged;
    if (!run.is_cell || over || states[i].state == State::kRunning) continue;
    bool all = !plan.eval_sets.empty(), diverged = false;
    std::map<std::string, double> losses;
    for (const std::string& set : plan.eval_sets) {
      const FinishedRow* const row = find(rows, run.name, set);
      all = all && row;
      if (!row) continue;
      const std::string settings = other_settings(row->fields, fields_of(run, progress[i], states[i], set));
      if (!settings.empty()) wrong += fmt::format("\n  {} was trained with {}", run.name, settings);
      diverged = diverged || row->status == state_name(State::kDiverged);
      if (!row->loss.empty()) losses[set] = std::strtod(row->loss.c_str(), nullptr);
    }
    if (!all) continue;
    states[i] = {diverged ? State::kDiverged : State::kDone, "a row of " + path};
    progress[i].eval_losses = losses;
    progress[i].eval_step = progress[i].step = run.steps;
  }
  if (!wrong.empty())
    throw ConfigError(ErrorKind::kConfig,
                      concat(path, " has cells of another study than ", plan.dir, ":", wrong,
                             "\ntake the change of the study back, or give a table without these rows"));
}

MergedRuns merge_runs(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states,
                      const std::vector<FinishedRow>& before) {
  MergedRuns merged{.csv = csv_line({kColumns.begin(), kColumns.end()}), .conflicts = {}};
  std::set<const FinishedRow*> written;
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const PlannedRun& run = plan.runs[i];
    for (const std::string& set : run.is_cell ? plan.eval_sets : std::vector<std::string>{}) {
      const std::vector<std::string> now = fields_of(run, progress[i], states[i], set);
      bool has_now = false;
      for (const FinishedRow& row : before) {
        if (row.run_id != run.name || row.eval_set != set) continue;
        merged.csv += csv_line(row.fields);
        written.insert(&row);
        const std::string why = conflict(row, now);
        if (!why.empty()) merged.conflicts.push_back(fmt::format("{} on {} {}", run.name, set, why));
        has_now = has_now || row.build == now[place("build")] || !is_over(now[place("status")]);
      }
      if (!has_now) merged.csv += csv_line(now);
    }
  }
  for (const FinishedRow& row : before)
    if (!written.contains(&row)) merged.csv += csv_line(row.fields);
  return merged;
}

}  // namespace retain::study
