#include "launch/verbs/plan_prediction.h"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "trainer/plan/memory_advice.h"
#include "trainer/run/history.h"

namespace retain {

namespace {

constexpr size_t kLeastMeasured = 10, kMostMeasured = 100, kMostShown = 12;

// "17.2 days", "3.4 hours", "12.0 minutes", "2.6 s"
std::string hours_text(double hours) {
  if (hours >= 48) return fmt::format("{:.1f} days", hours / 24);
  if (hours >= 1) return fmt::format("{:.1f} hours", hours);
  return hours >= 1.0 / 30 ? fmt::format("{:.1f} minutes", 60 * hours) : fmt::format("{:.1f} s", 3600 * hours);
}

nlohmann::ordered_json to_json(const RunCost& cost) {
  return {{"step_seconds", cost.step_seconds},
          {"tokens_per_second", cost.tokens_per_second},
          {"mfu", cost.mfu},
          {"hours", cost.hours},
          {"gpu_hours", cost.gpu_hours},
          {"kilowatt_hours", cost.kilowatt_hours}};
}

}  // namespace

std::optional<MeasuredSteps> measured_steps(const std::string& directory) {
  RunHistory history(directory);
  try {
    history.refresh();
  } catch (const Error&) {  // no run is there, or it cannot be read: a plan needs neither
    return std::nullopt;
  }
  const std::vector<HistoryPoint>& steps = history.series("step_seconds");
  std::vector<double> seconds;
  for (auto step = steps.rbegin(); step != steps.rend() && seconds.size() < kMostMeasured; ++step) {
    if (step->start != steps.back().start) break;
    seconds.push_back(step->value);
  }
  if (seconds.size() < kLeastMeasured) return std::nullopt;
  MeasuredSteps measured;
  measured.steps = std::ssize(seconds);
  std::ranges::nth_element(seconds, seconds.begin() + std::ssize(seconds) / 2);
  measured.seconds = seconds[seconds.size() / 2];
  for (const HistoryEvent& event : history.events())
    if (const auto mesh = event.values.find("mesh"); mesh != event.values.end()) measured.mesh = mesh->second;
  return measured;
}

nlohmann::ordered_json to_json(const Prediction& prediction) {
  nlohmann::ordered_json json = {{"gpu", prediction.gpu->name}, {"parts_seconds", nlohmann::ordered_json::object()}};
  for (const StepPart& part : prediction.time.parts) json["parts_seconds"][part.name] = part.seconds;
  json.update(to_json(prediction.cost));
  if (prediction.price > 0) json["cost"] = prediction.price * prediction.cost.gpu_hours;
  return json;
}

nlohmann::ordered_json to_json(const MeasuredSteps& measured) {
  return {{"steps", measured.steps}, {"step_seconds", measured.seconds}, {"mesh", measured.mesh}};
}

nlohmann::ordered_json to_json(const LayoutSearch& search, const Config& config, double price) {
  nlohmann::ordered_json json = {{"legal", search.legal}, {"fitting", search.fitting}};
  json["layouts"] = nlohmann::ordered_json::array();
  for (const LayoutChoice& choice : search.choices) {
    nlohmann::ordered_json each = {{"mesh", {{"dp", choice.mesh.dp}, {"cp", choice.mesh.cp}, {"tp", choice.mesh.tp}}},
                                   {"zero", choice.config.parallel.zero},
                                   {"recompute", recompute_name(choice.config.train.recompute)},
                                   {"micro_batch_tokens", choice.config.train.micro_batch_tokens},
                                   {"needed_bytes", choice.needed_bytes},
                                   {"changes", changes_of(choice, config)}};
    each.update(to_json(choice.cost));
    if (price > 0) each["cost"] = price * choice.cost.gpu_hours;
    json["layouts"].push_back(std::move(each));
  }
  return json;
}

void print(const Prediction& prediction, int ranks) {
  const RunCost& cost = prediction.cost;
  fmt::print("predicted on {}{}\n", ranks > 1 ? fmt::format("{} x ", ranks) : "", prediction.gpu->name);
  for (const StepPart& part : prediction.time.parts)
    fmt::print("  {:<24}{:>12.2f} ms\n", part.name, 1e3 * part.seconds);
  fmt::print("  {:<24}{:>12.2f} ms: {:.0f} tokens/s, {:.0f} a GPU, MFU {:.3f}\n", "a step", 1e3 * cost.step_seconds,
             cost.tokens_per_second, cost.tokens_per_second / ranks, cost.mfu);
  fmt::print("  the run: {}, {:.4g} GPU hours, {:.4g} kWh of its GPUs at {:.0f} W{}\n", hours_text(cost.hours),
             cost.gpu_hours, cost.kilowatt_hours, prediction.gpu->watts,
             prediction.price > 0 ? fmt::format(", cost {:.2f}", prediction.price * cost.gpu_hours) : "");
}

void print(const MeasuredSteps& measured, const Prediction* prediction, const std::string& directory) {
  fmt::print("measured     {:.2f} ms a step, the median of {} in {}{}", 1e3 * measured.seconds, measured.steps,
             directory, measured.mesh.empty() ? "" : " (" + measured.mesh + ")");
  if (prediction != nullptr)
    fmt::print("; predicted is {:.2f} of it", prediction->cost.step_seconds / measured.seconds);
  fmt::print("\n");
}

void print(const LayoutSearch& search, const Config& config, const Gpu& gpu, double price) {
  if (search.choices.empty())
    throw ConfigError(
        ErrorKind::kConfig,
        fmt::format("none of {} legal layouts fits the {} GiB of a {}; {} GiB is the least, with {} {}; "
                    "more GPUs, a shorter data.seq_len or a smaller model",
                    search.legal, gibibytes(gpu.memory_bytes), gpu.name, gibibytes(search.smallest.needed_bytes),
                    search.smallest.mesh.describe(), changes_of(search.smallest, config)));
  fmt::print("{} layouts are legal, {} fit the {} GiB of a {}; the fastest of each kind, as predicted\n", search.legal,
             search.fitting, gibibytes(gpu.memory_bytes), gpu.name);
  fmt::print("  {:<20}{:>5}  {:<10}{:>12}{:>8}{:>13}{:>7}{:>12}{}\n", "mesh", "zero", "recompute", "micro-batch", "GiB",
             "tokens/s", "MFU", "GPU hours", price > 0 ? "        cost" : "");
  for (size_t i = 0; i < std::min(kMostShown, search.choices.size()); ++i) {
    const LayoutChoice& choice = search.choices[i];
    fmt::print("  {:<20}{:>5}  {:<10}{:>12}{:>8}{:>13.0f}{:>7.3f}{:>12.4g}{}\n", choice.mesh.describe(),
               choice.config.parallel.zero, recompute_name(choice.config.train.recompute),
               choice.config.train.micro_batch_tokens, gibibytes(choice.needed_bytes), choice.cost.tokens_per_second,
               choice.cost.mfu, choice.cost.gpu_hours,
               price > 0 ? fmt::format("{:>12.2f}", price * choice.cost.gpu_hours) : "");
  }
  const std::string changes = changes_of(search.choices.front(), config);
  fmt::print("the first: {}\n", changes.empty() ? "as the configuration says" : changes);
}

}  // namespace retain
