#include "launch/verbs/prompts.h"

#include <cerrno>
#include <cstring>
#include <iostream>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "trainer/json.h"

namespace retain {

namespace {

std::string name_of_input(const std::string& path) { return path == "-" ? "standard input" : path; }

std::istream& open(std::ifstream& file, const std::string& path) {
  if (path == "-") return std::cin;
  file.open(path, std::ios::binary);
  if (!file) throw Error(ErrorKind::kMissingInput, concat(path, ": cannot open the prompt: ", std::strerror(errno)));
  return file;
}

[[noreturn]] void refuse_reading(const std::string& name) {
  throw Error(ErrorKind::kIo, concat(name, ": cannot read the prompt: ", std::strerror(errno)));
}

}  // namespace

std::string read_prompt(const GenerateOptions& options) {
  if (options.prompt_file.empty()) return options.prompt;
  std::ifstream file;
  std::istream& in = open(file, options.prompt_file);
  std::string prompt;
  std::vector<char> block(1 << 16);
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0)
    prompt.append(block.data(), static_cast<size_t>(in.gcount()));
  if (in.bad()) refuse_reading(name_of_input(options.prompt_file));
  return prompt;
}

PromptLines::PromptLines(const std::string& path) : name_(name_of_input(path)), in_(open(file_, path)) {}

std::optional<PromptLines::Line> PromptLines::next() {
  for (std::string line; std::getline(in_, line);) {
    ++number_;
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(" \t") != std::string::npos) return read(line);
  }
  if (in_.bad()) refuse_reading(name_);
  return std::nullopt;
}

PromptLines::Line PromptLines::read(const std::string& line) const {
  if (!line.starts_with('{')) return {.prompt = line, .object = {{"prompt", line}}};
  const std::string place = concat(name_, ":", number_, ": ");
  const nlohmann::json json = parse_strict_json(line, place);
  return {.prompt = JsonReader(json, place).at("prompt").text(), .object = nlohmann::ordered_json::parse(line)};
}

}  // namespace retain
