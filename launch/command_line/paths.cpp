// Which options and arguments are paths.
#include "launch/command_line/command_line.h"

namespace retain {
namespace {

using Paths = std::vector<GivenPath>;

Paths paths_of(ShowText&) { return {}; }
Paths paths_of(TrainOptions& o) {
  Paths paths = {{"CONFIG", &o.config}, {"--init-from", &o.init_from}};
  if (o.resume != "auto" && o.resume != "never") paths.push_back({"--resume", &o.resume});
  return paths;
}
Paths paths_of(PlanOptions& o) { return {{"CONFIG", &o.config}}; }
Paths paths_of(EvalOptions& o) {
  Paths paths = {{"CHECKPOINT", &o.checkpoint}};
  for (NamedPath& data : o.data) paths.push_back({"--data " + data.name, &data.path});
  for (std::string& path : o.choices) paths.push_back({"--choices", &path});
  for (std::string& path : o.last_words) paths.push_back({"--last-words", &path});
  for (std::string& path : o.documents) paths.push_back({"--documents", &path});
  return paths;
}
Paths paths_of(GenerateOptions& o) {
  return {{"CHECKPOINT", &o.checkpoint},
          {"--prompt-file", &o.prompt_file},
          {"--prompts-file", &o.prompts_file},
          {"--state", &o.state},
          {"--save-state", &o.save_state}};
}
Paths paths_of(ServeOptions& o) { return {{"CHECKPOINT", &o.checkpoint}}; }
Paths paths_of(DataPrepareOptions& o) {
  Paths paths = {{"--out", &o.out}};
  if (o.tokenizer != "bytes") paths.push_back({"--tokenizer", &o.tokenizer});
  for (std::string& input : o.inputs) paths.push_back({"INPUT", &input});
  return paths;
}
Paths paths_of(DataTrainTokenizerOptions& o) {
  Paths paths = {{"--out", &o.out}};
  for (std::string& input : o.inputs) paths.push_back({"INPUT", &input});
  return paths;
}
Paths paths_of(DataInfoOptions& o) {
  Paths paths;
  if (o.tokenizer != "bytes") paths.push_back({"--tokenizer", &o.tokenizer});
  for (std::string& path : o.paths) paths.push_back({"PATH", &path});
  return paths;
}
Paths paths_of(DataShowOptions& o) { return {{"RUN", &o.run}, {"--config", &o.config}}; }
Paths paths_of(CheckpointListOptions& o) { return {{"RUN", &o.run}}; }
Paths paths_of(CheckpointVerifyOptions& o) { return {{"PATH", &o.path}}; }
Paths paths_of(CheckpointDigestOptions& o) { return {{"PATH", &o.path}}; }
Paths paths_of(CheckpointDiffOptions& o) { return {{"FIRST", &o.first}, {"SECOND", &o.second}}; }
Paths paths_of(CheckpointExportOptions& o) { return {{"CHECKPOINT", &o.checkpoint}, {"--out", &o.out}}; }
Paths paths_of(CheckpointImportOptions& o) {
  Paths paths = {{"FOLDER", &o.folder}, {"--out", &o.out}};
  if (o.tokenizer != "bytes") paths.push_back({"--tokenizer", &o.tokenizer});
  return paths;
}
Paths paths_of(CheckpointCheckOptions& o) { return {{"DIR", &o.directory}}; }
Paths paths_of(BenchGemmOptions& o) { return {{"CONFIG", &o.config}}; }
Paths paths_of(BenchRetentionOptions&) { return {}; }
Paths paths_of(BenchCollectivesOptions&) { return {}; }
Paths paths_of(BenchStepOptions& o) { return {{"CONFIG", &o.config}}; }
Paths paths_of(BenchGenerateOptions& o) { return {{"CONFIG", &o.config}}; }
Paths paths_of(LaunchOptions& o) { return {{"CONFIG", &o.config}, {"--site", &o.site}, {"--hostfile", &o.hostfile}}; }
Paths paths_of(SelftestOptions&) { return {}; }
Paths paths_of(DoctorOptions& o) { return {{"CONFIG", &o.config}}; }
Paths paths_of(TopOptions& o) {
  Paths paths;
  for (std::string& run : o.runs) paths.push_back({"RUN", &run});
  return paths;
}
Paths paths_of(PlotOptions& o) {
  Paths paths = {{"--out", &o.out}};
  for (std::string& run : o.runs) paths.push_back({"RUN", &run});
  return paths;
}
Paths paths_of(StudyPlanOptions& o) { return {{"STUDY", &o.study}}; }
Paths paths_of(StudyRunOptions& o) { return {{"STUDY", &o.study}, {"--runs", &o.runs}, {"--site", &o.site}}; }
Paths paths_of(StudyStatusOptions& o) { return {{"DIR", &o.dir}, {"--runs", &o.runs}}; }
Paths paths_of(StudyCollectOptions& o) { return {{"DIR", &o.dir}, {"--out", &o.out}}; }
Paths paths_of(StudyRatesOptions& o) { return {{"STUDY", &o.study}}; }
Paths paths_of(StudyFitOptions& o) { return {{"RUNS", &o.runs}, {"--out", &o.out}}; }
Paths paths_of(StudyPredictOptions& o) { return {{"FIT", &o.fit}}; }
Paths paths_of(StudyPlotOptions& o) { return {{"RUNS", &o.runs}, {"FIT", &o.fit}, {"--out", &o.out}}; }
Paths paths_of(StudyReportOptions& o) { return {{"RUNS", &o.runs}, {"FIT", &o.fit}}; }
Paths paths_of(StudyWidthOptions& o) { return {{"CONFIG", &o.config}, {"--out", &o.out}}; }

}  // namespace

std::vector<GivenPath> given_paths(Command& command) {
  return std::visit([](auto& options) { return paths_of(options); }, command);
}

}  // namespace retain
