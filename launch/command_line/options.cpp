#include "launch/command_line/options.h"

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <string_view>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "launch/config/suggest.h"
#include "launch/config/value.h"

namespace retain::command_line {
namespace {

constexpr int64_t kMostSeconds = 365L * 86'400;

/// "1d12h", "90m": seconds; 0 when it is no such time.
int64_t seconds_in(std::string_view text) {
  int64_t seconds = 0;
  while (!text.empty()) {
    const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    if (digits == 0 || digits > 8 || digits == text.size()) return 0;
    const int64_t number = std::stoll(std::string(text.substr(0, digits)));
    switch (text[digits]) {
      case 's': seconds += number; break;
      case 'm': seconds += number * 60; break;
      case 'h': seconds += number * 3600; break;
      case 'd': seconds += number * 86'400; break;
      default: return 0;
    }
    text.remove_prefix(digits + 1);
  }
  return seconds;
}

int64_t read_duration(const std::string& text) {
  const int64_t seconds = seconds_in(text);
  if (seconds == 0 || seconds > kMostSeconds)
    refuse_value("expected a time such as 24h, 90m or 1d12h, got " + in_quotes(text));
  return seconds;
}

}  // namespace

std::string suggestion(const std::string& asked, const Names& candidates) {
  const std::string nearest = nearest_word(asked, candidates);
  return nearest.empty() ? "" : " (did you mean '" + nearest + "'?)";
}

void refuse_value(const std::string& problem) { throw CLI::ValidationError(problem); }

int64_t read_whole(const std::string& text, int64_t low, int64_t high) {
  std::string problem;
  const auto value = parse_whole(text, problem);
  if (value && (*value < low || *value > high)) problem = concat("expected ", low, " to ", high);
  if (!problem.empty()) refuse_value(problem + ", got " + in_quotes(text));
  return *value;
}

double read_real(const std::string& text, double low, double high) {
  std::string problem;
  const auto value = parse_real(text, problem);
  if (value && (*value < low || *value > high)) problem = concat("expected ", low, " to ", high);
  if (!problem.empty()) refuse_value(problem + ", got " + in_quotes(text));
  return *value;
}

int64_t read_choice(const std::string& text, const Names& names) {
  const auto found = std::find(names.begin(), names.end(), text);
  if (found == names.end())
    refuse_value("expected one of " + CLI::detail::join(names, ", ") + ", got " + in_quotes(text) +
                 suggestion(text, names));
  return found - names.begin();
}

Names split_at_commas(const std::string& text) {
  Names pieces;
  std::istringstream in(text);
  for (std::string piece; std::getline(in, piece, ',');) pieces.push_back(piece);
  return pieces;
}

CLI::Validator whole(int64_t low, int64_t high) {
  const auto read = [=](std::string& text) {
    text = std::to_string(read_whole(text, low, high));
    return std::string();
  };
  return {read, ""};
}

CLI::Option* read_option(CLI::App& verb, const std::string& name, const std::function<void(const std::string&)>& read,
                         const std::string& shown, const std::string& about) {
  return verb.add_option(name, CLI::callback_t(), about)->option_text(shown)->type_name("TEXT")->each(read);
}

CLI::Validator one_line() {
  const auto check = [](std::string& text) {
    if (text.empty() || text != escape_controls(text))
      refuse_value("expected one line of text, got " + in_quotes(text));
    return std::string();
  };
  return {check, ""};
}

void duration_option(CLI::App& verb, const std::string& name, int64_t& seconds, const std::string& about) {
  read_option(
      verb, name, [&seconds](const std::string& text) { seconds = read_duration(text); }, "TIME", about);
}

void tokens_option(CLI::App& verb, int64_t& tokens, int64_t high, const std::string& about) {
  const auto read = [&tokens, high](const std::string& text) {
    if (!text.empty()) tokens = read_whole(text, 1, high);
  };
  read_option(verb, "--tokens", read, "N", about);
}

void config_and_sets(CLI::App& verb, std::string& config, std::vector<std::string>& sets, bool required) {
  verb.add_option("CONFIG", config, "the YAML file; configs/reference.yaml has all keys")->required(required);
  option(verb, "--set", sets, "KEY=VALUE", "change one value, such as optimizer.lr=3e-4;\nmay be repeated");
}

void device_option(CLI::App& verb, DeviceKind& device) {
  option(verb, "--device", device, "auto|cpu|cuda", "auto: cuda when there is one")->transform(one_of(named_devices()));
}

void device_and_precision(CLI::App& verb, DeviceKind& device, Precision& precision) {
  device_option(verb, device);
  option(verb, "--precision", precision, "auto|bf16|fp32|fp64", "auto: bf16 on cuda, fp32 on cpu")
      ->transform(one_of(named_precisions()));
}

void json(CLI::App& verb, bool& value, const std::string& about) {
  verb.add_flag("--json", value, about)->multi_option_policy(CLI::MultiOptionPolicy::Throw)->disable_flag_override();
}

}  // namespace retain::command_line
