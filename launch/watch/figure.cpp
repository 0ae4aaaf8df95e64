#include "launch/watch/figure.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "kernels/core/error.h"

namespace retain {

namespace {

using Points = std::vector<HistoryPoint>;

constexpr const char* kThroughput = "tokens_per_second";
// Okabe & Ito's colours, which people who see fewer can tell apart, the pale yellow left out.
constexpr std::array<const char*, 7> kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                 "#e69f00", "#56b4e9", "#000000"};

/// Hours of training at each step that was reported.
std::map<int64_t, double> hours_of(const Points& losses) {
  std::map<int64_t, double> hours;
  double seconds = 0;
  for (size_t i = 0; i < losses.size(); ++i) {
    if (i > 0 && losses[i].start == losses[i - 1].start) seconds += losses[i].time - losses[i - 1].time;
    hours[losses[i].step] = seconds / 3600;
  }
  return hours;
}

std::vector<double> smoothed(const std::vector<double>& values, double steps) {
  const double weight = 2 / (std::max(steps, 1.0) + 1);
  std::vector<double> means;
  double sum = 0, share = 0;
  for (const double value : values) {
    if (std::isfinite(value)) {
      sum += weight * (value - sum);
      share += weight * (1 - share);
    }
    means.push_back(share > 0 ? sum / share : value);  // what was not seen yet counts for nothing
  }
  return means;
}

FigureCurve curve_of(const RunHistory& run, const std::string& name, const std::string& label,
                     const FigureOptions& options) {
  const Points& points = run.series(name);
  FigureCurve curve{.name = label, .is_throughput = name == kThroughput, .is_sparse = name.starts_with("valid/")};
  const std::map<int64_t, double> hours = hours_of(run.series("loss"));
  for (const HistoryPoint& point : points) {
    double x = static_cast<double>(point.step);
    if (options.x == FigureAxis::kTokens) x = static_cast<double>(point.tokens);
    if (options.x == FigureAxis::kHours) {
      const auto after = hours.upper_bound(point.step);
      x = after == hours.begin() ? 0 : std::prev(after)->second;
    }
    curve.x.push_back(x);
    curve.y.push_back(point.value);
  }
  const double steps =
      options.smooth_steps > 0 ? static_cast<double>(options.smooth_steps) : static_cast<double>(points.size()) / 100;
  curve.smoothed = curve.is_sparse ? curve.y : smoothed(curve.y, steps);
  return curve;
}

std::vector<std::string> series_of(const RunHistory& run, const FigureOptions& options) {
  std::vector<std::string> names = options.series;
  if (names.empty()) {
    names.emplace_back("loss");
    for (const auto& [name, points] : run.series()) {
      if (name.starts_with("valid/") && name.ends_with("/loss")) names.push_back(name);
    }
  }
  std::erase_if(names, [&](const std::string& name) { return run.series(name).empty(); });
  return names;
}

/// The last parts of the directories' paths, as many as tell them apart.
std::vector<std::string> short_names(const std::vector<const RunHistory*>& runs) {
  for (int parts = 1;; ++parts) {
    std::vector<std::string> names;
    bool longer = false;
    for (const RunHistory* run : runs) {
      std::filesystem::path path = std::filesystem::absolute(run->directory()).lexically_normal(), name;
      if (!path.has_filename()) path = path.parent_path();
      for (int i = 0; i < parts && path.has_filename(); ++i, path = path.parent_path()) name = path.filename() / name;
      longer = longer || path.has_filename();
      std::string text = name.string();
      while (text.size() > 1 && text.back() == '/') text.pop_back();
      names.push_back(text);
    }
    if (!longer || std::set<std::string>(names.begin(), names.end()).size() == names.size()) return names;
  }
}

/// As gnuplot reads a text in single quotes.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("''") : c == '\n' ? std::string(" ") : std::string(1, c);
  return out + "'";
}

/// Between the tics of the lower panel, which has room for some five: 1, 2 or 5 times a power of ten.
double tic_of(const std::vector<FigureCurve>& curves) {
  double most = 0;
  for (const FigureCurve& curve : curves) {
    if (!curve.is_throughput) continue;
    for (const double y : curve.y) most = std::isfinite(y) ? std::max(most, y) : most;
  }
  if (most <= 0) return 1;
  const double power = std::pow(10, std::floor(std::log10(most / 5)));
  for (const double times : {1, 2, 5}) {
    if (5 * times * power >= most) return times * power;
  }
  return 10 * power;
}

/// "plot …" of the curves of one panel.
std::string plot_command(const std::vector<FigureCurve>& curves, const std::string& data, bool throughput) {
  std::string raw, lines;
  // A run's throughput has the colour of its first curve above.
  size_t colour = 0;
  std::map<size_t, size_t> colour_of_run;
  for (const FigureCurve& curve : curves)
    if (curve.is_throughput == std::ranges::all_of(curves, &FigureCurve::is_throughput))
      colour_of_run.emplace(curve.run, colour++);
  colour = 0;
  for (size_t i = 0; i < curves.size(); ++i) {
    const FigureCurve& curve = curves[i];
    if (curve.is_throughput != throughput) continue;
    const std::string from = fmt::format("{} index {}", quoted(data), i);
    const char* const shade = kColours[(throughput ? colour_of_run[curve.run] : colour++) % kColours.size()];
    const auto join = [](std::string& list, const std::string& item) {
      list += (list.empty() ? "" : ", \\\n  ") + item;
    };
    if (curve.is_sparse) {
      join(lines, fmt::format("{} using 1:2 with linespoints lw 2 pt 7 ps 0.6 lc rgb '{}' title {}", from, shade,
                              quoted(curve.name)));
      continue;
    }
    join(raw, fmt::format("{} using 1:2 with lines lw 1 lc rgb '#40{}' notitle", from, shade + 1));
    join(lines, fmt::format("{} using 1:3 with lines lw 2 lc rgb '{}' title {}", from, shade, quoted(curve.name)));
  }
  return fmt::format("plot {}{}{}\n", raw, raw.empty() || lines.empty() ? "" : ", \\\n  ", lines);
}

}  // namespace

std::vector<FigureCurve> curves_of(const std::vector<const RunHistory*>& runs, const FigureOptions& options) {
  std::vector<FigureCurve> curves;
  const std::vector<std::string> names = short_names(runs);
  const bool several = runs.size() > 1;
  for (size_t i = 0; i < runs.size(); ++i) {
    const std::vector<std::string> drawn = series_of(*runs[i], options);
    for (const std::string& name : drawn) {
      const std::string label = options.series.empty() && name == "loss" ? "training" : name;
      curves.push_back(curve_of(*runs[i], name, several ? concat(names[i], ": ", label) : label, options));
      curves.back().run = i;
    }
  }
  if (curves.empty()) {
    std::string known;
    for (const RunHistory* run : runs) {
      for (const auto& [name, points] : run->series()) known += (known.empty() ? "" : ", ") + name;
    }
    throw Error(ErrorKind::kData, known.empty() ? std::string("no step is done yet: there is nothing to draw")
                                                : "none of these series is there; those that are: " + known);
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs[i]->series(kThroughput).empty() || std::ranges::find(options.series, kThroughput) != options.series.end())
      continue;
    curves.push_back(curve_of(*runs[i], kThroughput, several ? names[i] : "tokens a second", options));
    curves.back().run = i;
  }
  return curves;
}

std::string figure_data(const std::vector<FigureCurve>& curves) {
  std::string text;
  for (const FigureCurve& curve : curves) {
    text += (text.empty() ? "# " : "\n\n# ") + curve.name + "\n# x y smoothed\n";
    for (size_t i = 0; i < curve.x.size(); ++i)
      text += fmt::format("{:.10g} {:.10g} {:.10g}\n", curve.x[i], curve.y[i], curve.smoothed[i]);
  }
  return text;
}

std::string figure_script(const std::vector<FigureCurve>& curves, const FigureOptions& options, const std::string& data,
                          const std::string& out) {
  const bool svg = out.ends_with(".svg");
  const bool lower = std::ranges::any_of(curves, &FigureCurve::is_throughput);
  const bool upper = std::ranges::any_of(curves, [](const FigureCurve& curve) { return !curve.is_throughput; });
  const auto curves_above = std::ranges::count(curves, false, &FigureCurve::is_throughput);
  std::string text = svg ? "set terminal svg size 900,640 dynamic font 'sans,14' background rgb 'white'\n"
                         : "set terminal pngcairo size 1800,1280 font 'sans,24' linewidth 2 background rgb 'white'\n";
  text += "set output " + quoted(out) + "\n";
  text += "set autoscale xfix\nset grid lc rgb '#d0d0d0'\nset border lc rgb '#606060'\nset lmargin 12\nset rmargin 4\n";
  text += fmt::format("set key above left {} noenhanced samplen 2\n",
                      curves_above > 3 ? "maxcols 2 maxrows 10" : "maxrows 1");
  if (upper && lower) text += "set multiplot\nset size 1,0.66\nset origin 0,0.34\n";
  if (options.log_x) text += "set logscale x\n";
  if (options.x == FigureAxis::kTokens) text += "set format x '%.0s%c'\n";
  const char* const x_label = options.x == FigureAxis::kSteps    ? "optimizer step"
                              : options.x == FigureAxis::kTokens ? "tokens trained on"
                                                                 : "hours of training";
  if (upper) {
    text += options.series.empty() ? "set ylabel 'loss (nats a token)'\n" : "";
    if (options.log_y) text += "set logscale y\n";
    text += lower ? "" : fmt::format("set xlabel '{}'\n", x_label);
    text += plot_command(curves, data, false);
  }
  if (lower) {
    if (upper) text += "unset logscale y\nset size 1,0.34\nset origin 0,0\nunset key\n";
    text += fmt::format("set xlabel '{}'\nset ylabel 'tokens a second'\nset format y '%.0s%c'\nset yrange [0:*]\n",
                        x_label);
    text += fmt::format("set ytics {:g}\n", tic_of(curves)) + plot_command(curves, data, true);
  }
  return text + (upper && lower ? "unset multiplot\n" : "") + "set output\n";
}

}  // namespace retain
