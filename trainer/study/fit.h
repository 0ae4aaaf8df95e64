// What `retain study fit` finds out about a table of runs: the laws and how well they predict what they have not seen,
// intervals from resampled runs, the approaches without a law beside them, and what a reader should be warned of. A
// function of the table and the options: equal on any number of threads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/study/isoflop.h"
#include "trainer/study/law.h"
#include "trainer/study/projection.h"
#include "trainer/study/runs_table.h"
#include "trainer/study/statistics.h"

namespace retain {

struct FitSettings {
  std::string form = "auto";  ///< or the name of one that has N and D
  double delta = 1e-3;        ///< of Huber's function
  int starts = 200;           ///< of the second solver
  int resamples = 4000;       ///< 0: no intervals
  uint64_t seed = 1;
  int threads = 1;  ///< changes no number
};

/// Errors in ln loss on runs that were held out: predicted less measured.
struct HeldOutError {
  int runs = 0;
  double rms = 0, mean = 0;
  std::vector<double> errors;
};

struct FormFit {
  const LawForm* form = nullptr;
  Law law;
  double objective = 0;
  SearchedFit projection;
  std::optional<SearchedFit> multistart;
  Conditions condition;
  std::optional<HeldOutError> held_out;

  /// Relative difference of what the two solvers reached; 0 without the second.
  double disagreement() const;
};

/// The exponents of N* ~ C^a and D* ~ C^b by one approach. `predicted_bias` is what the approach finds for a on the
/// chosen law's own surface at these runs, less what is true there.
struct ExponentEstimate {
  double a = 0, b = 0, predicted_bias = 0;
  std::optional<Interval> a_interval, b_interval;
};

struct CountingFit {
  Counting counting = Counting::kAll;
  Law law;
  ExponentEstimate parametric;
  std::optional<ExponentEstimate> isoflop;
};

/// What leaving out one run does to a constant.
struct Influence {
  std::string run, constant;
  double moved = 0, se = 0;
};

struct StudyWarning {
  std::string name, message;
};

struct StudyFit {
  RunsTable table;
  FitSettings settings;
  std::string holdout;  ///< which runs were held out, in words; "" for none
  std::vector<FormFit> forms;
  size_t chosen = 0;
  std::string reason;  ///< why this form

  std::vector<Law> resamples;       ///< of the chosen form
  int redrawn = 0;                  ///< resamples with too few different runs, drawn anew
  std::vector<Interval> intervals;  ///< in the order of Law::constants(); empty without resamples
  ExponentEstimate parametric;      ///< approach 3
  std::optional<ExponentEstimate> isoflop, envelope;
  std::vector<Budget> budgets;
  std::vector<std::optional<Parabola>> parabolas;
  std::optional<Law> envelope_law;     ///< power-C over the envelope's runs
  std::vector<CountingFit> countings;  ///< those that the table has, where there are several
  std::vector<double> residuals;       ///< ln loss measured less predicted, of table.runs
  double residual_sigma = 0;           ///< robust, of these
  std::optional<double> seed_sigma;    ///< of ln loss between runs that differ in their seed alone
  std::vector<Influence> influences;   ///< beyond one error, the worst of each constant
  std::vector<StudyWarning> warnings;

  const FormFit& best() const { return forms[chosen]; }
};

/// Throws Error(kData) where the runs cannot tell the constants of a law apart at all: fewer than eight, or fewer than
/// three sizes or numbers of tokens.
StudyFit fit_study(RunsTable table, const std::string& holdout, const FitSettings& settings);

/// The runs as the approaches see them.
RunPoints run_points(const std::vector<StudyRun>& runs, Counting counting = Counting::kAll);
/// The same runs with the losses that a law gives them.
RunPoints on_surface(const RunPoints& points, const Law& law);

}  // namespace retain
