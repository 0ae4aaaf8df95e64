// A run's validation: the loss of its named sets between two steps, and whether the recurrent form agrees.
#include <fmt/core.h>

#include <cmath>
#include <map>
#include <numeric>
#include <string>

#include "trainer/run/recurrent_check.h"
#include "trainer/run/training_run.h"

namespace retain {
namespace {

int64_t tokens_of(const EvalWindows& set) { return set.windows() * set.window_tokens(); }

int64_t tokens_of(const std::map<std::string, EvalWindows>& sets) {
  return std::accumulate(sets.begin(), sets.end(), int64_t{0},
                         [](int64_t sum, const auto& set) { return sum + tokens_of(set.second); });
}

}  // namespace

bool TrainingRun::validate() {
  Scalars values;
  double sum = 0, sets = 0;
  ProgressBar::Work shown(progress_, {.what = "validating", .unit = "tokens", .total = tokens_of(validation_)});
  int64_t before = 0;  // tokens of the sets that are done
  for (const auto& [name, windows] : validation_) {
    const auto asked_to_stop = [&, this, &set = windows, batch = int64_t{0}]() mutable {
      shown.at(before + tokens_of(set) * batch++ / set.count());
      return wishes_to_stop();
    };
    const EvalResult result = evaluate(trainer_.backend(), mesh_, trainer_.model(), windows, trainer_.batch(),
                                       RetentionForm::kChunkwise, asked_to_stop);
    before += tokens_of(windows);
    if (!result.complete) return false;
    if (result.tokens == 0) {
      log_.warn("valid/", name, " has no loss: nothing of it is predicted");
      continue;
    }
    const std::string set = "valid/" + name;
    values.emplace_back(set + "/loss", result.loss);
    if (result.bits_per_byte) values.emplace_back(set + "/bits_per_byte", *result.bits_per_byte);
    for (size_t i = 0; config_.eval.loss_by_position && i < result.loss_by_position.size(); ++i)
      values.emplace_back(fmt::format("{}/loss_from_position_{}", set, i == 0 ? 0 : int64_t{1} << (i - 1)),
                          result.loss_by_position[i]);
    if (is_due(config_.eval.recurrent_every, step_)) check_recurrent(set, windows, values);
    sum += result.loss;
    ++sets;
  }
  if (sets > 0) valid_loss_ = sum / sets;
  if (sets > 0 && (!best_valid_ || valid_loss_ < best_valid_->loss)) best_valid_ = {valid_loss_, step_};
  if (mesh_.world_rank() != 0 || values.empty()) return true;
  metrics_->record(step_, values);
  std::string line = fmt::format("step={}/{}", step_, steps());
  for (const auto& [name, value] : values) {
    if (name.ends_with("/loss") || name.ends_with("/bits_per_byte")) line += fmt::format(" {}={:.4f}", name, value);
  }
  print(line);
  return true;
}

void TrainingRun::check_recurrent(const std::string& set, const EvalWindows& windows, Scalars& values) {
  const auto check = check_recurrent_form(trainer_.backend(), mesh_, trainer_.model(), windows, trainer_.batch(),
                                          [this] { return wishes_to_stop(); });
  if (!check) return;
  values.emplace_back(set + "/recurrent_difference", check->difference);
  const double limit = recurrent_limit(plan_.target.compute);
  if (std::abs(check->difference) <= limit) return;
  const std::string warning = fmt::format(
      "{}: in recurrent form the loss of {} tokens is {:.2g} nats from that in chunkwise form, and {} explains {:.0e}: "
      "what is generated is not what was trained; 'retain eval --mode recurrent' and 'retain selftest' tell more",
      set, check->tokens, check->difference, precision_name(plan_.target.compute), limit);
  log_.warn(warning);
  event("recurrent_difference", {{"set", set}, {"reason", warning}});
}

}  // namespace retain
