// The verbs of retain study that read a table of runs: fit, predict, plot, report.
#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "launch/command_line/options.h"
#include "trainer/study/runs_table.h"

namespace retain::command_line {
namespace {

double read_quantity(const std::string& text) {
  const std::optional<double> value = parse_quantity(text);
  if (!value || !(*value > 0)) refuse_value("expected a positive number such as 6.7B or 1e23, got " + in_quotes(text));
  return *value;
}

void quantity(CLI::App& verb, const std::string& name, double& value, const std::string& about) {
  read_option(
      verb, name, [&value](const std::string& text) { value = read_quantity(text); }, "N", about);
}

void fit_options(CLI::App& verb, StudyFitOptions& o) {
  verb.add_option("RUNS", o.runs, "the runs as CSV: of retain study collect, or\nany other with --map")->required();
  option(verb, "--map", o.map, "NAME=COLUMN,...",
         "the columns of N, D, C and L, such as\nN='Model Size',C='Training FLOP',L=loss; of C and\nD one may be "
         "missing (C = 6ND)");
  option(verb, "--only", o.only, "CONDITION", "rows that count, such as eval_set=book or\nloss<5; may be repeated");
  option(verb, "--holdout", o.holdout, "CONDITION",
         "rows that forms are tested on, such as\nparams>1e9; those of most compute if not given");
  option(verb, "--form", o.form, "NAME",
         "auto (chinchilla or chinchilla-gamma, by\nheld-out error), or one of these, gadre, kaplan")
      ->check([](const std::string& text) {
        read_choice(text, {"auto", "chinchilla", "chinchilla-gamma", "gadre", "kaplan"});
        return std::string();
      });
  read_option(
      verb, "--loss",
      [&o](const std::string& text) {
        const std::string huber = "huber:";
        if (!text.starts_with(huber)) refuse_value("expected huber:DELTA such as huber:1e-3, got " + in_quotes(text));
        o.delta = read_real(text.substr(huber.size()), 1e-9, 10);
      },
      "huber:DELTA", "of residuals of ln loss; huber:1e-3 if not given");
  option(verb, "--starts", o.starts, "N", "of the second solver; 200 if not given")->transform(whole(1, 1'000'000));
  option(verb, "--bootstrap", o.resamples, "N", "resamples for the intervals; 4000 if not\ngiven, 0 for none")
      ->transform(whole(0, 1'000'000));
  option(verb, "--seed", o.seed, "N", "of resamples and starts; 1 if not given")->transform(whole(0, int64_t{1} << 62));
  option(verb, "--threads", o.threads, "N", "all processors if not given; changes no number")
      ->transform(whole(1, 1024));
  option(verb, "--out", o.out, "PATH", "fit.json beside RUNS if not given");
}

void predict_options(CLI::App& verb, StudyPredictOptions& o) {
  verb.add_option("FIT", o.fit, "fit.json of retain study fit")->required();
  quantity(verb, "--params", o.params, "parameters of a run, such as 6.7B");
  quantity(verb, "--tokens", o.tokens, "its tokens, such as 100B");
  quantity(verb, "--flops", o.flops, "or: a budget, whose best size and tokens are asked");
  json(verb, o.json);
  verb.parse_complete_callback([&o] {
    const bool run = o.params > 0 && o.tokens > 0, part = o.params > 0 || o.tokens > 0;
    if (run == (o.flops > 0) || (part && !run))
      throw Error(ErrorKind::kUsage, "give --params and --tokens of a run, or --flops of a budget");
  });
}

void plot_options(CLI::App& verb, StudyPlotOptions& o) {
  verb.add_option("RUNS", o.runs, "the table that was fitted")->required();
  verb.add_option("FIT", o.fit, "fit.json of retain study fit")->required();
  option(verb, "--out", o.out, "DIR", "figures beside FIT if not given");
}

void report_options(CLI::App& verb, StudyReportOptions& o) {
  verb.add_option("RUNS", o.runs, "the folder of a study, or the table that was\nfitted")->required();
  verb.add_option("FIT", o.fit, "fit.json of retain study fit; that of the\nfolder if not given");
}

}  // namespace

void add_study_fit(CLI::App& group, Command& command) {
  add_verb<StudyFitOptions>(group, command, "fit", "Fits scaling laws to runs, with intervals and warnings.",
                            "  retain study fit study/runs.csv --form chinchilla\n"
                            "  retain study fit table.csv --map \"N='Model Size',C=FLOP,L=loss\"\n",
                            fit_options);
  add_verb<StudyPredictOptions>(group, command, "predict", "Predicts the loss of a run, or the best run of a budget.",
                                "  retain study predict study/fit.json --params 6.7B --tokens 100B\n"
                                "  retain study predict study/fit.json --flops 1e23 --json\n",
                                predict_options);
  add_verb<StudyPlotOptions>(group, command, "plot", "Draws the figures of a fit with gnuplot.",
                             "  retain study plot study/runs.csv study/fit.json\n"
                             "  retain study plot runs.csv fit.json --out paper/figures\n",
                             plot_options);
  add_verb<StudyReportOptions>(group, command, "report", "Prints a fit as a page of Markdown.",
                               "  retain study report study\n"
                               "  retain study report runs.csv fit.json\n",
                               report_options);
}

}  // namespace retain::command_line
