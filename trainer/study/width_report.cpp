// The table, the verdict and the figure of a width check.
#include <fmt/core.h>

#include "trainer/study/plot_script.h"
#include "trainer/study/width_check.h"

namespace retain {
namespace {

std::string verdict(const WidthCheck& check) {
  std::string failed;
  for (const WidthRow& row : check.rows) {
    if (row.holds) continue;
    failed +=
        fmt::format("{}the {} of {} goes as width^{:.2f}", failed.empty() ? "" : ", ", row.name, row.of, row.slope);
  }
  const std::string want = fmt::format("exponents of {} to {}", kLeastExponent, kMostExponent);
  if (failed.empty())
    return fmt::format("PASS: what {} steps change does not depend on the width ({}).\n", check.steps, want);
  return fmt::format(
      "FAIL: {} (want {}): {}\n", failed, want,
      check.base_width > 0
          ? "model.base_width does not make up for it here; the rate may be too high to tell."
          : "a learning rate chosen at one width is another's no more. model.base_width: the hidden_size "
            "at which it was chosen.");
}

}  // namespace

std::string write_width_check(const WidthCheck& check) {
  std::string head = "| RMS | of |", rule = "|---|---|";
  for (const int64_t width : check.widths) {
    head += fmt::format(" {} |", width);
    rule += "---|";
  }
  std::string text = head + " exponent | |\n" + rule + "---|---|\n";
  for (const WidthRow& row : check.rows) {
    text += fmt::format("| {} | {} |", row.name, row.of);
    for (const double rms : row.rms) text += fmt::format(" {:.3g} |", rms);
    text += fmt::format(" {:.2f} | {} |\n", row.slope, !row.is_judged ? "" : row.holds ? "PASS" : "FAIL");
  }
  return text + "\n" + verdict(check);
}

Figure draw_width_check(const WidthCheck& check) {
  std::string data, plot, tics;
  PlotRange widths, values;
  for (const int64_t width : check.widths) {
    widths.take(static_cast<double>(width));
    tics += fmt::format("{0}\"{1}\" {1}", tics.empty() ? "" : ", ", width);
  }
  for (size_t k = 0; k < check.rows.size(); ++k) {
    const WidthRow& row = check.rows[k];
    data += fmt::format("# {} {}\n", row.of, row.name);
    for (size_t i = 0; i < row.rms.size(); ++i) {
      data += fmt::format("{} {:.9g}\n", check.widths[i], row.rms[i]);
      if (row.rms[i] > 0) values.take(row.rms[i]);
    }
    data += "\n\n";
    const int dash = row.name == "activation" || row.is_judged ? 1 : row.name == "gradient" ? 2 : 3;
    plot += fmt::format(
        "{}\"width_check.txt\" index {} with linespoints pt 7 ps 0.6 lw {} dt {} lc rgb \"{}\" title \"{} of {}, "
        "{:.2f}\"",
        k ? ", \\\n       " : "", k, row.is_judged ? 3 : 1, dash, color_of(k, check.rows.size()), row.name, row.of,
        row.slope);
  }
  const std::string title =
      check.base_width > 0 ? fmt::format("base width {}", check.base_width) : std::string("no base width");
  const std::string body = std::string(kCommonStyle) + log_axis("x", widths.widened(1.1)) +
                           log_axis("y", values.widened(2)) +
                           fmt::format(
                               "  set xtics ({})\n  set xlabel \"hidden size\"\n  set ylabel \"RMS after {} steps\"\n"
                               "  set key title \"{}; exponent\" noenhanced\n  plot {}\n",
                               tics, check.steps, title, plot);
  return {"width_check",
          "Activations, gradients and updates by width; in bold what should not depend on it.",
          plot_script("width_check", 1000, 620, body),
          {{"width_check.txt", data}}};
}

}  // namespace retain
