// What each verb does: one function a verb, each in a file of that name. Returns the exit code; throws Error.
#pragma once

#include "launch/command_line/command_line.h"

namespace retain {

class MpiEnvironment;
class SignalWishes;

// `mpi` is null when no launcher started this process.
int train(const TrainOptions& options, const MpiEnvironment* mpi, SignalWishes& signals);  // train.cpp
int plan(const PlanOptions& options, const MpiEnvironment* mpi);                           // plan.cpp
int eval(const EvalOptions& options, const MpiEnvironment* mpi);                           // eval.cpp
int generate(const GenerateOptions& options, SignalWishes& signals);                       // generate.cpp
int serve(const ServeOptions& options, SignalWishes& signals);                             // serve.cpp
int data_prepare(const DataPrepareOptions& options);                                       // data.cpp
int data_train_tokenizer(const DataTrainTokenizerOptions& options);
int data_info(const DataInfoOptions& options);
int data_show(const DataShowOptions& options);              // data_show.cpp
int checkpoint_list(const CheckpointListOptions& options);  // checkpoint.cpp
int checkpoint_verify(const CheckpointVerifyOptions& options);
int checkpoint_digest(const CheckpointDigestOptions& options);
int checkpoint_diff(const CheckpointDiffOptions& options);
int checkpoint_export(const CheckpointExportOptions& options, SignalWishes& signals);  // checkpoint_export.cpp
int checkpoint_import(const CheckpointImportOptions& options, SignalWishes& signals);
int checkpoint_check(const CheckpointCheckOptions& options);              // checkpoint_check.cpp
int launch(const LaunchOptions& options);                                 // launch.cpp
int selftest(const SelftestOptions& options, const MpiEnvironment* mpi);  // selftest.cpp
int doctor(const DoctorOptions& options, const MpiEnvironment* mpi);      // doctor.cpp
int top(const TopOptions& options);                                       // top.cpp
int plot(const PlotOptions& options);                                     // plot.cpp
int study_plan(const StudyPlanOptions& options);                          // study_cells.cpp
int study_run(const StudyRunOptions& options);
int study_status(const StudyStatusOptions& options);
int study_collect(const StudyCollectOptions& options);
int study_rates(const StudyRatesOptions& options);          // study_rates.cpp
int bench_gemm(const BenchGemmOptions& options);            // launch/bench/gemm.cpp
int bench_retention(const BenchRetentionOptions& options);  // launch/bench/retention.cpp
int bench_collectives(const BenchCollectivesOptions& options,
                      const MpiEnvironment* mpi);                            // launch/bench/collectives.cpp
int bench_step(const BenchStepOptions& options, const MpiEnvironment* mpi);  // launch/bench/step.cpp
int bench_generate(const BenchGenerateOptions& options);                     // launch/bench/generate.cpp
int study_fit(const StudyFitOptions& options);                               // study_fit.cpp
int study_predict(const StudyPredictOptions& options);
int study_plot(const StudyPlotOptions& options);
int study_report(const StudyReportOptions& options);
int study_width(const StudyWidthOptions& options);  // study_width.cpp

/// Calls the verb of a command.
struct VerbCalls {
  const MpiEnvironment* mpi;
  SignalWishes& signals;
  int operator()(const ShowText&) const { return 0; }
  int operator()(const TrainOptions& o) const { return train(o, mpi, signals); }
  int operator()(const PlanOptions& o) const { return plan(o, mpi); }
  int operator()(const EvalOptions& o) const { return eval(o, mpi); }
  int operator()(const GenerateOptions& o) const { return generate(o, signals); }
  int operator()(const ServeOptions& o) const { return serve(o, signals); }
  int operator()(const DataPrepareOptions& o) const { return data_prepare(o); }
  int operator()(const DataTrainTokenizerOptions& o) const { return data_train_tokenizer(o); }
  int operator()(const DataInfoOptions& o) const { return data_info(o); }
  int operator()(const DataShowOptions& o) const { return data_show(o); }
  int operator()(const CheckpointListOptions& o) const { return checkpoint_list(o); }
  int operator()(const CheckpointVerifyOptions& o) const { return checkpoint_verify(o); }
  int operator()(const CheckpointDigestOptions& o) const { return checkpoint_digest(o); }
  int operator()(const CheckpointDiffOptions& o) const { return checkpoint_diff(o); }
  int operator()(const CheckpointExportOptions& o) const { return checkpoint_export(o, signals); }
  int operator()(const CheckpointImportOptions& o) const { return checkpoint_import(o, signals); }
  int operator()(const CheckpointCheckOptions& o) const { return checkpoint_check(o); }
  int operator()(const BenchGemmOptions& o) const { return bench_gemm(o); }
  int operator()(const BenchRetentionOptions& o) const { return bench_retention(o); }
  int operator()(const BenchCollectivesOptions& o) const { return bench_collectives(o, mpi); }
  int operator()(const BenchStepOptions& o) const { return bench_step(o, mpi); }
  int operator()(const BenchGenerateOptions& o) const { return bench_generate(o); }
  int operator()(const LaunchOptions& o) const { return launch(o); }
  int operator()(const SelftestOptions& o) const { return selftest(o, mpi); }
  int operator()(const DoctorOptions& o) const { return doctor(o, mpi); }
  int operator()(const TopOptions& o) const { return top(o); }
  int operator()(const PlotOptions& o) const { return plot(o); }
  int operator()(const StudyPlanOptions& o) const { return study_plan(o); }
  int operator()(const StudyRunOptions& o) const { return study_run(o); }
  int operator()(const StudyStatusOptions& o) const { return study_status(o); }
  int operator()(const StudyCollectOptions& o) const { return study_collect(o); }
  int operator()(const StudyRatesOptions& o) const { return study_rates(o); }
  int operator()(const StudyFitOptions& o) const { return study_fit(o); }
  int operator()(const StudyPredictOptions& o) const { return study_predict(o); }
  int operator()(const StudyPlotOptions& o) const { return study_plot(o); }
  int operator()(const StudyReportOptions& o) const { return study_report(o); }
  int operator()(const StudyWidthOptions& o) const { return study_width(o); }
};

}  // namespace retain
