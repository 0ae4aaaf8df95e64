// Draws loss and throughput of runs, from their directories alone.
#include <memory>
#include <string>
#include <vector>

#include "launch/jobs/process.h"
#include "launch/verbs/verbs.h"
#include "launch/watch/figure.h"
#include "trainer/file.h"

namespace retain {

int plot(const PlotOptions& options) {
  if (!options.out.ends_with(".svg") && !options.out.ends_with(".png"))
    throw Error(ErrorKind::kUsage, "--out: want a name that ends with .svg or .png, got '" + options.out + "'");
  std::vector<std::unique_ptr<RunHistory>> histories;
  std::vector<const RunHistory*> runs;
  for (const std::string& run : options.runs) {
    histories.push_back(std::make_unique<RunHistory>(run));
    histories.back()->refresh();
    runs.push_back(histories.back().get());
  }
  const std::vector<FigureCurve> curves = curves_of(runs, options.figure);
  const std::string stem = options.out.substr(0, options.out.size() - 4), data = stem + ".txt",
                    script = stem + ".gnuplot";
  replace_file(data, figure_data(curves));
  replace_file(script, figure_script(curves, options.figure, data, options.out));
  std::string answer;
  const int code = run_command({"gnuplot", script}, answer);
  if (code == 127)
    throw Error(ErrorKind::kMissingInput, concat("gnuplot is not installed; once it is, 'gnuplot ", script, "' draws ",
                                                 options.out, " from ", data));
  if (code != 0) throw Error(ErrorKind::kIo, concat("gnuplot could not draw ", script, ": exit code ", code));
  return 0;
}

}  // namespace retain
