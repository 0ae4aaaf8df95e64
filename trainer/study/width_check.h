// Whether what is learned in a step depends on the width: the coordinate check of the maximal update parametrization
// (Yang et al., arXiv 2203.03466, appendix D.1), with what a model adds to the stream and its logits as coordinates. A
// few steps of one configuration at several widths, with its whole learning rate from the first step on; then, of each
// quantity, the root of the mean square against the width as a power law.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/study/figures.h"
#include "trainer/trainer.h"

namespace retain {

/// The same run at another hidden_size: heads of about their width, at least one, and the FFN in proportion; one rank,
/// a constant rate, so many steps. Throws Error(kConfig) where that is no legal model.
Config at_width(const Config& config, int64_t width, int64_t steps);

/// What is looked at, of which tensors.
struct WidthQuantity {
  std::string name;        ///< "activation", "change" of it, "gradient", "update"
  std::string of;          ///< "blocks", "logits", "retention in", …
  double rms = 0;          ///< after the last step; of a gradient, in it; changes and updates since the beginning
  bool is_judged = false;  ///< it should not depend on the width
};

/// Trains so many steps and looks at the first micro-batch before and after. The steps of `trainer` all lie ahead.
std::vector<WidthQuantity> measure_width(Trainer& trainer, int64_t steps);

struct WidthRow {
  std::string name, of;
  std::vector<double> rms;  ///< one a width
  double slope = 0;         ///< of ln rms by ln width: the exponent
  bool is_judged = false, holds = true;
};

/// Of exponents that should be 0. Without scaling those of changes are 0.5 and more. With it logits begin as
/// width^-1/2, and steps that take them back change no more than that: beside a small base width this shows.
inline constexpr double kLeastExponent = -0.6, kMostExponent = 0.25;

struct WidthCheck {
  std::vector<int64_t> widths;
  int64_t steps = 0;
  int64_t base_width = 0;
  std::vector<WidthRow> rows;
  bool holds() const;
};

/// `measured`: of each width the same quantities. At least two widths.
WidthCheck judge_widths(const Config& config, const std::vector<int64_t>& widths, int64_t steps,
                        const std::vector<std::vector<WidthQuantity>>& measured);

/// A table in Markdown and a sentence: whether it holds, and if not, what does not and what to do.
std::string write_width_check(const WidthCheck& check);
/// The same by width: what is judged in full, the rest in thin lines.
Figure draw_width_check(const WidthCheck& check);

}  // namespace retain
