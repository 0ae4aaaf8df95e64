// Hyperparameters as functions of size and tokens. Pure.
//
//   a number, or a power law    coefficient * N^exponent_params * D^exponent_tokens
//   olmo_ladder                 the ladder of OLMo 3: OLMo-core at fa6c501, src/olmo_core/model_ladder/
//                               wsds_chinchilla_run_configurator.py, of N without embeddings. Batch, rate and warm-up
//                               are of Porian et al., arXiv 2406.19146; the half of the rate is OLMo's for WSD. The
//                               older ladder of arXiv 2412.04403 (OLMo-ladder at 67a3f44, src/ladder/ladder.py) has the
//                               same batch and warm-up, the rate whole at 2048 tokens a sequence, and beta2 0.95
//                               always:
//     batch_tokens  2048 * 160 * (N / 108e6)^(2/3)      lr      0.0047 * (N / 108e6)^(-1/3) / 2
//     beta2  0.95 for batches of 524,288 tokens or more, else 0.99      warmup_tokens  N
//   power_lines                 "Power Lines", Bergsma et al., arXiv 2505.13738 (exponents and the 1.084, R^2 = 0.975,
//   as
//                               others quote them; the paper's own text was not at hand):
//     batch_tokens  value * (D / at)^0.383, from the best batch `value` measured at D = `at`
//     weight_decay  B / (lr * D * tau), tau = coefficient * (D / N)^-0.527; coefficient 1.084 if not given
//   sqrt_width                  arXiv 2510.15262: AdamW's decay grows with the root of the width
//     weight_decay  value * sqrt(hidden_size / at), from the best decay `value` measured at the width `at`
//
// `min` and `max` bound what a formula gives. What no rule says is as in the base configuration.
#pragma once

#include <array>
#include <cstdint>

#include "trainer/study/study.h"

namespace retain::study {

/// A rule's name in the file, and the hyperparameter that it may be given for.
struct NamedRule {
  const char* name;
  const char* quantity;
  RuleKind kind;
  bool measured = false;  ///< needs `at` and `value`
};
inline constexpr std::array kNamedRules = {
    NamedRule{"olmo_ladder", "batch_tokens", RuleKind::kOlmoLadder},
    NamedRule{"olmo_ladder", "lr", RuleKind::kOlmoLadder},
    NamedRule{"olmo_ladder", "beta2", RuleKind::kOlmoLadder},
    NamedRule{"olmo_ladder", "warmup_tokens", RuleKind::kOlmoLadder},
    NamedRule{"power_lines", "batch_tokens", RuleKind::kPowerLines, true},
    NamedRule{"power_lines", "weight_decay", RuleKind::kPowerLines},
    NamedRule{"sqrt_width", "weight_decay", RuleKind::kSqrtWidth, true},
};

struct RuleInput {
  double params = 0;  ///< N, as Study::count says
  double tokens = 0;  ///< D
  int64_t hidden_size = 0;
};

struct Hyperparameters {
  int64_t batch_tokens = 0, micro_batch_tokens = 0;
  int64_t warmup_steps = 0;
  double lr = 0, beta2 = 0, weight_decay = 0;
};

/// What the rules come to, rounded to what is legal: the batch to a multiple of dp micro-batches, or, where it is
/// smaller than these, of dp sequences, which are then the micro-batches; warm-up to whole steps, one at least; real
/// numbers to six digits.
Hyperparameters hyperparameters(const Rules& rules, const RuleInput& input, const Config& base, int dp);

/// Does what a rule gives depend on D?
bool depends_on_tokens(const Rules& rules);

}  // namespace retain::study
