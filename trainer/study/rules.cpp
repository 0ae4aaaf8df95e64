#include "trainer/study/rules.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

namespace retain::study {
namespace {

// OLMo's ladder, whose constants are of sequences of 2048 tokens and models around 108 million parameters.
constexpr double kLadderParams = 108e6, kLadderBatch = 2048.0 * 160, kLadderLr = 0.0047 / 2;
constexpr double kLadderLargeBatch = 524'288;
// Power Lines.
constexpr double kBatchExponent = 0.383, kTimescale = 1.084, kTimescaleExponent = -0.527;

constexpr int kDigits = 6;

double rounded(double value) {
  const std::string text = fmt::format("{:.{}g}", value, kDigits);
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

double bounded(const Rule& rule, double value) { return std::min(std::max(value, rule.min), rule.max); }

double power_law(const Rule& rule, const RuleInput& in) {
  return rule.coefficient * std::pow(in.params, rule.exponent_params) * std::pow(in.tokens, rule.exponent_tokens);
}

/// The rule's value, of the formula that it names or of its power law; the base's where there is no rule.
double value_of(const Rule& rule, const RuleInput& in, double base, double named) {
  if (rule.kind == RuleKind::kBase) return base;
  return bounded(rule, rule.kind == RuleKind::kPowerLaw ? power_law(rule, in) : named);
}

void set_batch(Hyperparameters& h, const Rule& rule, const RuleInput& in, const Config& base, int dp) {
  const double named = rule.kind == RuleKind::kPowerLines ? rule.value * std::pow(in.tokens / rule.at, kBatchExponent)
                                                          : kLadderBatch * std::pow(in.params / kLadderParams, 2.0 / 3);
  const double wanted = value_of(rule, in, static_cast<double>(base.train.batch_tokens), named);
  const int64_t micro = base.train.micro_batch_tokens;
  const auto multiple = [&](int64_t unit) {
    return std::max<int64_t>(1, std::llround(wanted / static_cast<double>(unit))) * unit;
  };
  h.batch_tokens = multiple(micro * dp);
  h.micro_batch_tokens = micro;
  if (wanted >= static_cast<double>(micro * dp)) return;
  h.batch_tokens = multiple(base.data.seq_len * dp);
  h.micro_batch_tokens = h.batch_tokens / dp;
}

double weight_decay(const Rule& rule, const RuleInput& in, const Hyperparameters& h) {
  if (rule.kind == RuleKind::kSqrtWidth) return rule.value * std::sqrt(static_cast<double>(in.hidden_size) / rule.at);
  const double coefficient = rule.coefficient > 0 ? rule.coefficient : kTimescale;
  const double timescale = coefficient * std::pow(in.tokens / in.params, kTimescaleExponent);
  return static_cast<double>(h.batch_tokens) / (h.lr * in.tokens * timescale);
}

}  // namespace

Hyperparameters hyperparameters(const Rules& rules, const RuleInput& in, const Config& base, int dp) {
  Hyperparameters h;
  set_batch(h, rules.batch_tokens, in, base, dp);
  const auto batch = static_cast<double>(h.batch_tokens);
  h.lr = rounded(value_of(rules.lr, in, base.optimizer.lr, kLadderLr * std::cbrt(kLadderParams / in.params)));
  h.beta2 = rounded(value_of(rules.beta2, in, base.optimizer.beta2, batch >= kLadderLargeBatch ? 0.95 : 0.99));
  h.warmup_steps = base.schedule.warmup_steps;
  if (rules.warmup_tokens.kind != RuleKind::kBase)
    h.warmup_steps = std::max<int64_t>(1, std::llround(value_of(rules.warmup_tokens, in, 0, in.params) / batch));
  h.weight_decay =
      rounded(value_of(rules.weight_decay, in, base.optimizer.weight_decay, weight_decay(rules.weight_decay, in, h)));
  return h;
}

bool depends_on_tokens(const Rules& rules) {
  const auto depends = [](const Rule& rule) {
    return rule.kind == RuleKind::kPowerLines || (rule.kind == RuleKind::kPowerLaw && rule.exponent_tokens != 0);
  };
  return depends(rules.batch_tokens) || depends(rules.lr) || depends(rules.beta2) || depends(rules.warmup_tokens) ||
         depends(rules.weight_decay);
}

}  // namespace retain::study
