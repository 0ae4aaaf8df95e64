#include "launch/command_line/options.h"

namespace retain::command_line {

namespace {

const Named<FigureAxis> kAxes = {
    {"steps", FigureAxis::kSteps}, {"tokens", FigureAxis::kTokens}, {"hours", FigureAxis::kHours}};

}  // namespace

void add_watch_verbs(CLI::App& root, Command& command) {
  add_verb<TopOptions>(
      root, command, "top",
      "Follows runs on the terminal: loss, throughput, memory, what is left, last\n"
      "events; from the files of their directories alone, on any machine that sees\n"
      "them. q ends it. Where stdout is no terminal the page is printed once.",
      "  retain top runs/demo\n"
      "  retain top runs/a runs/b --once\n",
      [](CLI::App& verb, TopOptions& o) {
        verb.add_option("RUN", o.runs, "directories of runs")->required();
        verb.add_flag("-1,--once", o.once, "prints the page once");
        option(verb, "--seconds", o.seconds, "S", "between two looks; 1 if not given")->check(CLI::Range(0.1, 3600.0));
        option(verb, "--columns", o.columns, "N", "of a page that is printed once")->transform(whole(20, 1000));
        option(verb, "--rows", o.rows, "N", "of it")->transform(whole(5, 1000));
      });
  add_verb<PlotOptions>(
      root, command, "plot",
      "Draws losses and throughput of runs: by gnuplot, whose data and script\nstand beside the figure.",
      "  retain plot runs/demo --out demo.svg\n"
      "  retain plot runs/a runs/b --out both.png --x tokens --log-x\n",
      [](CLI::App& verb, PlotOptions& o) {
        verb.add_option("RUN", o.runs, "directories of runs")->required();
        option(verb, "--out", o.out, "FILE", "the figure: .svg or .png")->required();
        option(verb, "--x", o.figure.x, "AXIS", "steps, tokens or hours; steps if not given")->transform(one_of(kAxes));
        verb.add_flag("--log-x", o.figure.log_x, "a logarithmic axis");
        verb.add_flag("--log-y", o.figure.log_y, "of the loss");
        option(verb, "--smooth", o.figure.smooth_steps, "N",
               "steps of an exponential mean; a hundredth of\nthe run if not given")
            ->transform(whole(1, 1'000'000'000));
        option(verb, "--series", o.figure.series, "NAME",
               "instead of the losses, by its name in\nmetrics.jsonl; repeat it for several");
      });
}

}  // namespace retain::command_line
