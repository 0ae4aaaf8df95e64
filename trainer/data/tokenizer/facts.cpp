#include "trainer/data/tokenizer/facts.h"

#include <array>
#include <utility>

#include "parallel/agreement.h"

namespace retain {

TokenizerFacts facts_of(const Tokenizer& tokenizer) {
  TokenizerFacts facts{.name = std::string(tokenizer.name()),
                       .fingerprint = tokenizer.fingerprint(),
                       .end_of_document = tokenizer.end_of_document(),
                       .bytes = {}};
  for (int64_t token = 0; token < tokenizer.vocab_size(); ++token) {
    facts.bytes.push_back(static_cast<int32_t>(tokenizer.text_bytes(static_cast<int32_t>(token)).value_or(-1)));
  }
  return facts;
}

std::shared_ptr<const TokenizerFacts> tokenizer_facts(const std::string& name) {
  TokenizerFacts facts = facts_of(*make_tokenizer(name));
  facts.name = name;
  return std::make_shared<const TokenizerFacts>(std::move(facts));
}

std::shared_ptr<const TokenizerFacts> tokenizer_facts(Communicator& host, const std::string& name) {
  if (name == kByteTokenizer) return tokenizer_facts(name);
  TokenizerFacts facts;
  do_on_rank_0(host, [&] { facts = facts_of(*make_tokenizer(name)); });
  facts.name = name;
  if (host.size() > 1) {
    facts.fingerprint = broadcast_text(host, facts.fingerprint, 0);
    std::array<int32_t, 2> numbers = {facts.end_of_document, static_cast<int32_t>(facts.vocab_size())};
    host.broadcast(TensorView(numbers.data(), DType::kInt32, {2}), 0).wait();
    facts.end_of_document = numbers[0];
    facts.bytes.resize(static_cast<size_t>(numbers[1]));
    host.broadcast(TensorView(facts.bytes.data(), DType::kInt32, {facts.vocab_size()}), 0).wait();
  }
  return std::make_shared<const TokenizerFacts>(std::move(facts));
}

}  // namespace retain
