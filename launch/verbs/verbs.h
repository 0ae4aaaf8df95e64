// What each verb does: one function a verb, each in a file of that name. Returns the exit code; throws Error.
#pragma once

#include "launch/command_line/command_line.h"

namespace retain {

class MpiEnvironment;

/// `mpi` is null when no launcher started this process.
int run(const TrainOptions& options, const MpiEnvironment* mpi);  // train.cpp
int run(const PlanOptions& options);                              // plan.cpp
int run(const EvalOptions& options);                              // eval.cpp
int run(const GenerateOptions& options);                          // generate.cpp
int run(const DataPrepareOptions& options);                       // data.cpp
int run(const DataInfoOptions& options);
int run(const CheckpointListOptions& options);  // checkpoint.cpp
int run(const CheckpointVerifyOptions& options);
int run(const CheckpointDigestOptions& options);
int run(const CheckpointDiffOptions& options);
int run(const CheckpointCheckOptions& options);                              // checkpoint_check.cpp
int run(const BenchGemmOptions& options);                                    // bench_gemm.cpp
int run(const BenchRetentionOptions& options);                               // bench_retention.cpp
int run(const BenchCollectivesOptions& options, const MpiEnvironment* mpi);  // bench_collectives.cpp
int run(const BenchStepOptions& options, const MpiEnvironment* mpi);         // bench_step.cpp

}  // namespace retain
