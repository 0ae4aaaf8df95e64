// The group retain study, and its verbs from a study's file to a table of runs.
#include <algorithm>
#include <functional>

#include "kernels/core/text.h"
#include "launch/command_line/options.h"

namespace retain::command_line {
namespace {

constexpr int kMostJobs = 100'000, kMostSeconds = 3600;

Named<StudyScheduler> named_schedulers() {
  return {{"local", StudyScheduler::kLocal}, {"slurm", StudyScheduler::kSlurm}};
}

void plan_options(CLI::App& verb, StudyPlanOptions& o) {
  verb.add_option("STUDY", o.study, "the study's YAML file; trainer/study/README.md has\nall keys")->required();
  verb.add_flag("--dry-run", o.dry_run, "write nothing");
  json(verb, o.json);
}

void runs_option(CLI::App& verb, std::string& runs) {
  option(verb, "--runs", runs, "PATH", "a runs.csv of this study: cells that are finished\nthere count as trained");
}

void run_options(CLI::App& verb, StudyRunOptions& o) {
  verb.add_option("STUDY", o.study, "the study's folder, or its YAML file, which is\nplanned first")->required();
  option(verb, "--max-jobs", o.max_jobs, "N",
         "runs at the same time; as many as the study's\nmachine has place for if not given")
      ->transform(whole(1, kMostJobs));
  option(verb, "--only", o.only, "RUN", "this run, and what it starts from; may be repeated");
  option(verb, "--scheduler", o.scheduler, "local|slurm",
         "local if not given; slurm: an array, a task\nfor each trunk with its branches")
      ->transform(one_of(named_schedulers()));
  runs_option(verb, o.runs);
  duration_option(verb, "--time", o.limit_seconds,
                  "so long it may take, such as 9m or 1d12h: what\nwould not end is not begun, what runs is saved;\n"
                  "slurm: limit of a task");
  option(verb, "--account", o.account, "TEXT", "slurm: who pays")->transform(one_line());
  option(verb, "--partition", o.partition, "TEXT", "slurm: where")->transform(one_line());
  option(verb, "--site", o.site, "PATH",
         "slurm: modules, container, environment, directives\nand setup of this cluster");
  verb.add_flag("--shared", o.shared, "others run parts of this study at the same time:\nno lock on the whole");
  verb.add_flag("--dry-run", o.dry_run, "print what would be started or submitted");
}

void width_options(CLI::App& verb, StudyWidthOptions& o) {
  config_and_sets(verb, o.config, o.sets);
  const auto read_widths = [&o](const std::string& text) {
    o.widths.clear();
    for (const std::string& piece : split_at_commas(text + ","))
      o.widths.push_back(read_whole(piece, 1, int64_t{1} << 24));
    const bool rise = std::ranges::adjacent_find(o.widths, std::greater_equal()) == o.widths.end();
    if (o.widths.size() < 2 || !rise) refuse_value("expected two rising widths or more, got " + in_quotes(text));
  };
  read_option(verb, "--widths", read_widths, "N,N,...", "values of model.hidden_size;\n128,256,512,1024 if not given");
  option(verb, "--steps", o.steps, "N", "of each width; 10 if not given")->transform(whole(1, 10'000));
  option(verb, "--out", o.out, "DIR", "the folder of a figure; none if not given");
  json(verb, o.json);
}

}  // namespace

void add_study_verbs(CLI::App& root, Command& command) {
  CLI::App& group = *root.add_subcommand("study");
  add_verb<StudyPlanOptions>(group, command, "plan",
                             "Lists a study's runs and what they cost; writes their configurations.",
                             "  retain study plan configs/study_demo.yaml --dry-run\n"
                             "  retain study plan configs/study_h200.yaml --json\n",
                             plan_options);
  add_verb<StudyRunOptions>(group, command, "run",
                            "Trains what a study lacks: goes on with what was interrupted, tries\n"
                            "again what failed.",
                            "  retain study run studies/demo --max-jobs 2\n"
                            "  retain study run configs/study_h200.yaml --runs runs.csv --time 9m\n"
                            "  retain study run studies/demo --scheduler slurm --time 2h --dry-run\n",
                            run_options);
  add_verb<StudyStatusOptions>(group, command, "status", "Says how far a study is.",
                               "  retain study status studies/demo\n"
                               "  retain study status studies/demo --json\n",
                               [](CLI::App& verb, StudyStatusOptions& o) {
                                 verb.add_option("DIR", o.dir, "the study's folder")->required();
                                 runs_option(verb, o.runs);
                                 json(verb, o.json);
                               });
  add_verb<StudyCollectOptions>(group, command, "collect", "Writes a table of a study's cells and their losses.",
                                "  retain study collect studies/demo --out studies/demo/runs.csv\n"
                                "  retain study collect studies/demo --out runs.csv\n",
                                [](CLI::App& verb, StudyCollectOptions& o) {
                                  verb.add_option("DIR", o.dir, "the study's folder")->required();
                                  option(verb, "--out", o.out, "PATH",
                                         "the CSV file that is written; finished rows of\none that is there stay")
                                      ->required();
                                });
  add_verb<StudyRatesOptions>(
      group, command, "rates", "Measures how fast a study's sizes train here: its machine.rates.",
      "  retain study rates configs/study_h200.yaml\n"
      "  retain study rates configs/study_demo.yaml --seconds 3\n",
      [](CLI::App& verb, StudyRatesOptions& o) {
        verb.add_option("STUDY", o.study, "the study's YAML file")->required();
        option(verb, "--seconds", o.seconds, "N", "that each size takes, about; 10 if not given")
            ->transform(whole(1, kMostSeconds));
      });
  add_study_fit(group, command);
  add_verb<StudyWidthOptions>(group, command, "width", "Checks whether learning rates hold at other widths.",
                              "  retain study width configs/retnet_125m.yaml --out figures\n"
                              "  retain study width configs/demo.yaml --widths 32,64,128\n",
                              width_options);
}

}  // namespace retain::command_line
