// What a model remembers of a prompt, as a file: a million tokens are read once. A safetensors file with
//   state   U8 [bytes]         Decoder::SavedState::layers
//   tokens  I32 [n]            read after that state, fewer than a block or a whole one (Decoder::largest_block): they
//   are read again, so that
//                              what follows comes to the same bits as if nothing had been saved
//   seen    U8 [vocab]         1 where the text has a token
// and in __metadata__: format "retain-state-1", model (model_fingerprint), position (tokens that `state` has), and
// checksum, XXH3-64 of all of these.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/config.h"
#include "trainer/inference/decoder.h"
#include "trainer/inference/sampling.h"
#include "trainer/model/parameters.h"

namespace retain {

struct ReadPrompt {
  Decoder::SavedState state;
  std::vector<int32_t> tokens;
  SeenTokens seen;

  int64_t position() const { return state.position + std::ssize(tokens); }
};

/// 16 hexadecimal digits of the weights, in the type in which they compute, and of what else decides a model's outputs.
std::string model_fingerprint(Backend& backend, const ParameterStore& parameters, const ModelConfig& model);

/// Whether a state can be written there, before it takes hours to have one. Throws Error(kCannotCreate).
void check_state_path(const std::string& path);
/// Written aside and renamed. Throws Error(kCannotCreate), Error(kIo).
void write_state_file(const std::string& path, const std::string& model, const ReadPrompt& prompt);
/// Throws Error(kMissingInput), or Error(kData) that names the file where it is damaged, of something else, or of
/// another model.
ReadPrompt read_state_file(const std::string& path, const std::string& model, int64_t vocab_size);

}  // namespace retain
