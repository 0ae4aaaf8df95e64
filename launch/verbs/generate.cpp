// retain generate: recurrent decoding from a prompt.
#include "trainer/inference/generate.h"

#include <iostream>

#include "launch/verbs/trained_model.h"
#include "launch/verbs/verbs.h"
#include "trainer/data/tokenizer.h"

namespace retain {

int generate(const GenerateOptions& options) {
  const TrainedModel trained = load_trained_model(options.checkpoint);
  const auto tokenizer = make_tokenizer(trained.config.data.tokenizer);
  std::vector<int32_t> tokens = tokenizer->encode(options.prompt);
  // Without a prompt the model begins a document.
  if (tokens.empty()) tokens.push_back(tokenizer->end_of_document());

  Decoder decoder(*trained.backend, *trained.parameters, trained.config.model, trained.target.compute);
  const SamplingOptions sampling{.temperature = options.temperature, .top_p = options.top_p, .seed = options.seed};
  std::cout << options.prompt;
  for (int64_t i = 0; i < options.max_tokens; ++i) {
    const int32_t next = sample_token(decoder.feed(tokens), sampling, static_cast<uint64_t>(i));
    if (next == tokenizer->end_of_document()) break;
    tokens = {next};
    std::cout << tokenizer->decode(tokens) << std::flush;
  }
  std::cout << "\n";
  return 0;
}

}  // namespace retain
