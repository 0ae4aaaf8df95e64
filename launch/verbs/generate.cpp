// retain generate: recurrent decoding from a prompt.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <limits>
#include <vector>

#include "launch/verbs/trained_model.h"
#include "launch/verbs/verbs.h"
#include "trainer/data/tokenizer/text_stream.h"
#include "trainer/data/tokenizer/tokenizer.h"
#include "trainer/inference/decoder.h"
#include "trainer/inference/sampling.h"

namespace retain {

namespace {

std::string read_prompt(const GenerateOptions& options) {
  if (options.prompt_file.empty()) return options.prompt;
  const bool piped = options.prompt_file == "-";
  const std::string name = piped ? "standard input" : options.prompt_file;
  std::ifstream file;
  if (!piped) file.open(options.prompt_file, std::ios::binary);
  std::istream& in = piped ? std::cin : file;
  if (!in) throw Error(ErrorKind::kMissingInput, concat(name, ": cannot open the prompt: ", std::strerror(errno)));
  std::string prompt;
  std::vector<char> block(1 << 16);
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0)
    prompt.append(block.data(), static_cast<size_t>(in.gcount()));
  if (in.bad()) throw Error(ErrorKind::kIo, concat(name, ": cannot read the prompt: ", std::strerror(errno)));
  return prompt;
}

}  // namespace

int generate(const GenerateOptions& options) {
  const std::string prompt = read_prompt(options);
  const TrainedModel trained = load_trained_model(options.checkpoint);
  const Config& config = trained.config;
  const Tokenizer& tokenizer = *trained.tokenizer;
  const std::optional<int32_t> end = trained.end_token;
  std::vector<int32_t> tokens = tokenizer.encode(prompt);
  if (tokens.empty() && !end) {
    throw Error(ErrorKind::kUsage,
                "no document of this model begins with a token (data.end_of_document: none): give a --prompt");
  }
  if (tokens.empty()) tokens.push_back(*end);  // with which a document begins

  Decoder decoder(*trained.backend, *trained.parameters, config.model, trained.target.compute, 1);
  const SamplingOptions sampling{.temperature = options.temperature, .top_p = options.top_p, .seed = options.seed};
  TextStream text(tokenizer, tokens);
  std::cout << prompt << std::flush;
  for (int64_t i = 0; i < options.max_tokens; ++i) {
    std::vector<float> logits = decoder.feed(0, tokens);
    for (size_t token = 0; token < logits.size(); ++token) {
      const auto id = static_cast<int32_t>(token);
      if (id != end && !tokenizer.text_bytes(id)) logits[token] = -std::numeric_limits<float>::infinity();
    }
    const int32_t next = sample_token(logits, sampling, static_cast<uint64_t>(i));
    if (next == end) break;
    tokens = {next};
    std::cout << text.add(next) << std::flush;
  }
  std::cout << text.rest() << "\n";
  return 0;
}

}  // namespace retain
