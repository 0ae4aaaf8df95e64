#include "launch/command_line/parts.h"

#include <algorithm>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "launch/config/schema.h"
#include "launch/config/suggest.h"
#include "launch/config/value.h"

namespace retain::command_line {

void usage_error(const std::string& message) { throw Error(ErrorKind::kUsage, message); }

int64_t read_count(const std::string& option, const std::string& text, int64_t low, int64_t high) {
  std::string problem;
  const auto value = parse_whole(text, problem);
  if (!value) usage_error(concat(option, ": ", problem, ", got ", in_quotes(text)));
  if (*value < low || *value > high)
    usage_error(concat(option, ": expected ", low, " to ", high, ", got ", in_quotes(text)));
  return *value;
}

double read_number(const std::string& option, const std::string& text, double low, double high) {
  std::string problem;
  const auto value = parse_real(text, problem);
  if (!value) usage_error(concat(option, ": ", problem, ", got ", in_quotes(text)));
  if (*value < low || *value > high)
    usage_error(concat(option, ": expected ", low, " to ", high, ", got ", in_quotes(text)));
  return *value;
}

std::vector<std::string> read_words(const std::string& option, const std::string& text,
                                    const std::vector<std::string>& names) {
  std::vector<std::string> read;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    read_choice(option, word, names);
    if (std::find(read.begin(), read.end(), word) != read.end())
      usage_error(option + ": " + in_quotes(word) + " is given twice");
    read.push_back(word);
    begin = end + 1;
  }
  return read;
}

size_t read_choice(const std::string& option, const std::string& text, const std::vector<std::string>& names) {
  const auto found = std::find(names.begin(), names.end(), text);
  if (found != names.end()) return static_cast<size_t>(found - names.begin());
  std::string legal;
  for (const std::string& name : names) legal += (legal.empty() ? "" : ", ") + name;
  const std::string nearest = nearest_word(text, names);
  usage_error(concat(option, ": expected one of ", legal, ", got ", in_quotes(text),
                     nearest.empty() ? "" : " (did you mean '" + nearest + "'?)"));
}

std::vector<int64_t> read_counts(const std::string& option, const std::string& text, int64_t low, int64_t high) {
  std::vector<int64_t> values;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    values.push_back(read_count(option, text.substr(begin, end - begin), low, high));
    begin = end + 1;
  }
  return values;
}

Verb make_verb(std::string name, const std::string& purpose, std::string examples) {
  Verb verb{std::move(name), std::move(examples), nullptr, nullptr};
  verb.app = std::make_unique<CLI::App>(purpose, "retain " + verb.name);
  verb.app->set_help_flag();  // parse_command_line() sees --help first, wherever it stands
  return verb;
}

CLI::Option* word(Verb& verb, const std::string& name, std::string& value, const std::string& about,
                  const std::string& shown) {
  return verb.app->add_option(name, value, about)->option_text(shown);
}

CLI::Option* words(Verb& verb, const std::string& name, std::vector<std::string>& values, const std::string& about,
                   const std::string& shown) {
  return verb.app->add_option(name, values, about)->option_text(shown)->allow_extra_args(!name.starts_with("--"));
}

void flag(Verb& verb, const std::string& name, bool& value, const std::string& about) {
  verb.app->add_flag(name, value, about)->multi_option_policy(CLI::MultiOptionPolicy::Throw);
}

void config_and_sets(Verb& verb, std::string& config, std::vector<std::string>& sets) {
  word(verb, "CONFIG", config, "the YAML file; configs/reference.yaml has all keys", " ")->required();
  words(verb, "--set", sets, "change one value, such as optimizer.lr=3e-4;\nmay be repeated", "KEY=VALUE");
}

void device_and_precision(Verb& verb, DeviceWords& words) {
  word(verb, "--device", words.device, "auto: cuda when there is one", "auto|cpu|cuda");
  word(verb, "--precision", words.precision, "auto: bf16 on cuda, fp32 on cpu", "auto|bf16|fp32|fp64");
}

void read_device(const DeviceWords& words, DeviceKind& device, Precision& precision) {
  device = static_cast<DeviceKind>(read_choice("--device", words.device, choices(DeviceKind{})));
  precision = static_cast<Precision>(read_choice("--precision", words.precision, choices(Precision{})));
}

}  // namespace retain::command_line
