#include "trainer/study/width_check.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <utility>

#include "trainer/model/host_values.h"

namespace retain {
namespace {

constexpr int64_t kLookedAtRows = 256;  // tokens of the micro-batch

double rms_of(std::span<const double> values) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  return values.empty() ? 0 : std::sqrt(squares / static_cast<double>(values.size()));
}

double rms_of_difference(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> difference(a.size());
  for (size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
  return rms_of(difference);
}

/// What a forward leaves of the same tokens.
struct Activations {
  std::vector<double> embedding, blocks, logits;
};

Activations look_at(Trainer& trainer) {
  RetNet& model = trainer.model();
  Backend& backend = trainer.backend();
  const DeviceBatch batch = upload_batch(backend, trainer.loader().load_from(0, 0), trainer.batch()).at_segment(0);
  Activations seen;
  model.set_look([&](size_t place, const TensorView& rows) {
    const std::vector<double> values = download_wide(backend, rows.slice(0, 0, std::min(rows.shape[0], kLookedAtRows)));
    std::vector<double>& to = place == 0 ? seen.embedding : seen.blocks;
    to.insert(to.end(), values.begin(), values.end());
  });
  model.forward(batch, RetentionForm::kChunkwise);
  model.set_look({});
  const Dimensions& dims = model.dims();
  const int64_t rows = std::min({kLookedAtRows, dims.logits_rows, dims.rows()});
  seen.logits = download_wide(backend, model.logits(batch, 0, rows).slice(1, 0, dims.vocab.size()));
  return seen;
}

/// What is updated here, all of the model, in the flat order: master weights, or gradients.
template <class Part>
std::vector<double> flat_values(Trainer& trainer, const Part& part) {
  std::vector<double> values;
  for (const SharePiece& piece : trainer.parameters().updated().pieces()) {
    values.resize(static_cast<size_t>(piece.flat.end));
    const std::vector<double> got = download_wide(trainer.backend(), part(piece));
    std::ranges::copy(got, values.begin() + piece.flat.begin);
  }
  return values;
}

std::string class_of(const ParameterSpec& spec) {
  const auto is = [&](const char* end) { return spec.name.ends_with(end); };
  if (spec.rank == 1) return "norms";
  if (is("o_proj.weight")) return "retention out";
  if (is("down_proj.weight")) return "FFN out";
  if (is("gate_proj.weight") || is("up_proj.weight")) return "FFN in";
  return spec.name.starts_with("layers.") ? "retention in" : spec.name.starts_with("embeddings") ? "embedding" : "head";
}

/// Of flat values by the class of their parameters.
std::map<std::string, double> rms_by_class(const ParameterLayout& layout, const std::vector<double>& flat) {
  std::map<std::string, std::vector<double>> classes;
  for (const ParameterSpec& spec : layout.parameters) {
    std::vector<double>& all = classes[class_of(spec)];
    const auto begin = flat.begin() + spec.flat_offset;
    all.insert(all.end(), begin, begin + spec.real_rows * spec.columns);
  }
  std::map<std::string, double> rms;
  for (const auto& [name, values] : classes) rms[name] = rms_of(values);
  return rms;
}

double slope_of(const std::vector<int64_t>& widths, const std::vector<double>& rms) {
  double mean_x = 0, mean_y = 0, xx = 0, xy = 0;
  const auto n = static_cast<double>(widths.size());
  for (size_t i = 0; i < widths.size(); ++i) {
    mean_x += std::log(static_cast<double>(widths[i])) / n;
    mean_y += std::log(rms[i]) / n;
  }
  for (size_t i = 0; i < widths.size(); ++i) {
    const double x = std::log(static_cast<double>(widths[i])) - mean_x;
    xx += x * x;
    xy += x * (std::log(rms[i]) - mean_y);
  }
  return xy / xx;
}

}  // namespace

Config at_width(const Config& config, int64_t width, int64_t steps) {
  Config at = config;
  const double ratio = static_cast<double>(width) / static_cast<double>(config.model.hidden_size);
  at.model.hidden_size = width;
  at.model.heads = std::max<int64_t>(1, std::llround(ratio * static_cast<double>(config.model.heads)));
  at.model.ffn_size = std::max<int64_t>(1, std::llround(ratio * static_cast<double>(config.model.ffn_size)));
  at.schedule.kind = ScheduleKind::kConstant;
  at.schedule.warmup_steps = 0;
  at.parallel = {.dp = 1};
  at.train.tokens = steps * at.train.batch_tokens;
  at.eval.every = 0;
  at.data.valid.clear();
  const std::vector<ConfigProblem> problems = validate(at, 1);
  if (!problems.empty())
    throw Error(ErrorKind::kConfig, concat("width ", width, ": ", problems[0].key, " ", problems[0].message));
  return at;
}

std::vector<WidthQuantity> measure_width(Trainer& trainer, int64_t steps) {
  const auto master = [&](const SharePiece& piece) { return trainer.parameters().master(piece); };
  const std::vector<double> weights = flat_values(trainer, master);
  const Activations before = look_at(trainer);
  for (int64_t step = 0; step < steps; ++step) trainer.step(step, {}, [] {});
  std::vector<double> moved = flat_values(trainer, master);
  for (size_t i = 0; i < moved.size(); ++i) moved[i] -= weights[i];
  const std::vector<double> gradients =
      flat_values(trainer, [&](const SharePiece& piece) { return trainer.parameters().gradient(piece); });
  const Activations after = look_at(trainer);

  std::vector<WidthQuantity> all;
  const auto add_activation = [&](const char* of, std::vector<double> Activations::*part, bool is_judged) {
    all.push_back({"activation", of, rms_of(after.*part)});
    all.push_back({"change", of, rms_of_difference(after.*part, before.*part), is_judged});
  };
  add_activation("embedding", &Activations::embedding, false);
  add_activation("blocks", &Activations::blocks, true);
  add_activation("logits", &Activations::logits, true);
  const ParameterLayout& layout = trainer.parameters().layout();
  for (const auto& [of, rms] : rms_by_class(layout, gradients)) all.push_back({"gradient", of, rms});
  for (const auto& [of, rms] : rms_by_class(layout, moved)) all.push_back({"update", of, rms});
  return all;
}

bool WidthCheck::holds() const {
  return std::ranges::all_of(rows, [](const WidthRow& row) { return row.holds; });
}

WidthCheck judge_widths(const Config& config, const std::vector<int64_t>& widths, int64_t steps,
                        const std::vector<std::vector<WidthQuantity>>& measured) {
  RETAIN_CHECK(widths.size() >= 2 && measured.size() == widths.size(), widths.size(), " widths, ", measured.size(),
               " measurements");
  WidthCheck check{.widths = widths, .steps = steps, .base_width = config.model.base_width, .rows = {}};
  for (size_t i = 0; i < measured[0].size(); ++i) {
    const WidthQuantity& quantity = measured[0][i];
    WidthRow row{.name = quantity.name, .of = quantity.of, .rms = {}, .is_judged = quantity.is_judged};
    for (const std::vector<WidthQuantity>& at : measured) row.rms.push_back(at[i].rms);
    row.slope = slope_of(widths, row.rms);
    row.holds = !row.is_judged || (row.slope >= kLeastExponent && row.slope <= kMostExponent);  // no number is neither
    check.rows.push_back(std::move(row));
  }
  return check;
}

}  // namespace retain
