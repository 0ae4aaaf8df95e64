#include "trainer/numerics/guard.h"

#include <fmt/core.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "trainer/checkpoint/checksum.h"
#include "trainer/json.h"

namespace retain {

namespace {

std::string bits_of(double value) { return to_hex(std::bit_cast<uint64_t>(value)); }

double from_bits(const JsonReader& value) {
  uint64_t bits = 0;
  if (!from_hex(value.text(), bits)) value.refuse("sixteen hexadecimal digits");
  return std::bit_cast<double>(bits);
}

int64_t counter(const JsonReader& value) { return value.whole_number(0, int64_t{1} << 48); }

std::string describe_spike(const char* what, double value, const SpikeWindow& window) {
  return fmt::format("{} {:.4g} is {:.3g} robust standard deviations above the median {:.4g} of the last steps", what,
                     value, window.score(value), window.median());
}

// Norms have a heavy tail: of a sequence in ten three to seventeen times the usual one.
constexpr double kHeavyTail = 5;

}  // namespace

NumericsGuard::NumericsGuard(const NumericsConfig& config)
    : config_(config),
      losses_(config.spike_window, config.spike_score),
      norms_(config.spike_window, kHeavyTail * config.spike_score) {}

NumbersVerdict NumericsGuard::record(const StepNumbers& numbers) {
  const bool finite = std::isfinite(numbers.loss) && std::isfinite(numbers.grad_norm);
  NumbersVerdict verdict;
  if (finite) verdict = judge_spike(numbers);
  if (numbers.skipped) {
    NumbersVerdict skip = judge_skip(numbers);
    if (!verdict.warning.empty()) skip.warning = verdict.warning + "; nothing was updated";
    verdict = std::move(skip);
  } else {
    skipped_in_a_row_ = 0;
  }
  losses_.record(numbers.loss);
  norms_.record(numbers.grad_norm);
  advance_limits();
  return verdict;
}

void NumericsGuard::record_nothing() {
  skipped_in_a_row_ = 0;
  advance_limits();
}

void NumericsGuard::advance_limits() { next_ = std::exchange(after_next_, known_limits()); }

UpdateLimits NumericsGuard::known_limits() const {
  if (config_.on_spike != OnSpike::kSkip) return {};
  return {.loss = losses_.limit(), .grad_norm = norms_.limit()};
}

NumbersVerdict NumericsGuard::judge_skip(const StepNumbers& numbers) {
  ++skipped_;
  ++skipped_in_a_row_;
  const bool finite = std::isfinite(numbers.loss) && std::isfinite(numbers.grad_norm);
  const char* const what = finite                             ? "loss or gradient is a spike"
                           : std::isfinite(numbers.grad_norm) ? "the loss is not finite"
                                                              : "the gradient is not finite";
  NumbersVerdict verdict{.warning = fmt::format("step {}: {}; nothing was updated", numbers.step, what),
                         .event = "skip"};
  if (skipped_in_a_row_ < config_.max_skips) return verdict;
  verdict.trouble = fmt::format("step {}: {} updates in a row had no {}", numbers.step, skipped_in_a_row_,
                                finite ? "gradient and loss within the limits of spikes" : "finite gradient");
  verdict.last_good = numbers.step - skipped_in_a_row_;
  verdict.diverged = true;
  return verdict;
}

NumbersVerdict NumericsGuard::judge_spike(const StepNumbers& numbers) {
  const bool loss = losses_.is_spike(numbers.loss), norm = norms_.is_spike(numbers.grad_norm);
  const bool first = !std::exchange(spiking_, loss || norm);
  if (!loss && !norm) return {};
  const std::string text = loss ? describe_spike("the loss", numbers.loss, losses_)
                                : describe_spike("the gradient's norm", numbers.grad_norm, norms_);
  NumbersVerdict verdict;
  if (first) verdict = {.warning = fmt::format("step {}: {}", numbers.step, text), .event = "spike"};
  if (config_.on_spike == OnSpike::kRollBack) {
    verdict.trouble = fmt::format("step {}: {}", numbers.step, text);
    verdict.last_good = numbers.step - 1;
  }
  return verdict;
}

bool NumericsGuard::may_roll_back(int64_t step) {
  if (rollbacks_ >= config_.max_rollbacks) return false;
  ++rollbacks_;
  trouble_step_ = step;
  return true;
}

void NumericsGuard::committed(int64_t step) {
  if (step > trouble_step_) rollbacks_ = 0;
}

std::string NumericsGuard::to_text() const {
  const nlohmann::json json = {{"losses", losses_.to_text()},
                               {"grad_norms", norms_.to_text()},
                               {"next_loss_limit", bits_of(next_.loss)},
                               {"next_grad_norm_limit", bits_of(next_.grad_norm)},
                               {"skipped", skipped_},
                               {"skipped_in_a_row", skipped_in_a_row_},
                               {"rollbacks", rollbacks_},
                               {"trouble_step", trouble_step_},
                               {"spiking", spiking_}};
  return json.dump();
}

void NumericsGuard::from_text(const std::string& text) {
  *this = NumericsGuard(config_);
  if (text.empty()) return;
  const nlohmann::json parsed = parse_strict_json(text, "numerics: ");
  const JsonReader json(parsed, "numerics: ");
  losses_.from_text(json.at("losses").text());
  norms_.from_text(json.at("grad_norms").text());
  next_ = {.loss = from_bits(json.at("next_loss_limit")), .grad_norm = from_bits(json.at("next_grad_norm_limit"))};
  after_next_ = known_limits();
  skipped_ = counter(json.at("skipped"));
  skipped_in_a_row_ = counter(json.at("skipped_in_a_row"));
  rollbacks_ = counter(json.at("rollbacks"));
  trouble_step_ = counter(json.at("trouble_step"));
  spiking_ = json.at("spiking").flag();
}

void NumericsGuard::roll_back_to(const std::string& text) {
  const int64_t skipped = skipped_, rollbacks = rollbacks_, trouble_step = trouble_step_;
  from_text(text);
  skipped_ = skipped;
  rollbacks_ = rollbacks;
  trouble_step_ = trouble_step;
}

}  // namespace retain
