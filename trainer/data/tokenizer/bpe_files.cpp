#include "trainer/data/tokenizer/bpe_files.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "kernels/core/error.h"
#include "kernels/core/text.h"

namespace retain {
namespace {

using nlohmann::json;

/// Tokens that end documents, in the order in which they are looked for.
constexpr std::array<std::string_view, 5> kEnds = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>",
                                                   "<|end▁of▁sentence|>"};

[[noreturn]] void refuse(const std::string& file, const std::string& what) {
  throw Error(ErrorKind::kData, concat(file, ": ", what));
}

[[noreturn]] void refuse_kind(const std::string& file, const std::string& part, const std::string& found,
                              const std::string& read) {
  refuse(file, concat(part, " is ", in_quotes(found), "; read are ", read));
}

json read_json(const TokenizerFiles::File& file) {
  try {
    json value = json::parse(file.contents);
    if (!value.is_object()) refuse(file.path, concat("holds no object but ", value.type_name()));
    return value;
  } catch (const json::parse_error& error) {
    refuse(file.path, concat("is no JSON: byte ", error.byte));
  }
}

/// The member, or null.
const json& member(const json& object, const char* key) {
  static const json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

std::string text_of(const json& value, const std::string& otherwise) {
  return value.is_string() ? value.get<std::string>() : otherwise;
}

bool flag(const json& object, const char* key) {
  const json& value = member(object, key);
  return value.is_boolean() && value.get<bool>();
}

/// The characters by which GPT-2 writes bytes: those that can be seen stand for themselves, the others follow from
/// U+0100 on.
class ByteLetters {
 public:
  ByteLetters() {
    letters_.fill(-1);
    size_t next = 256;
    for (size_t byte = 0; byte < 256; ++byte) {
      const bool seen = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      letters_[seen ? byte : next++] = static_cast<int16_t>(byte);
    }
  }

  /// What a token's letters stand for; false when one of them stands for nothing.
  bool read(std::string_view token, std::string& bytes) const {
    bytes.clear();
    for (size_t i = 0; i < token.size();) {
      const size_t length = utf8_length(token, i);
      if (length == 0 || length > 2) return false;
      const auto first = static_cast<unsigned char>(token[i]);
      const size_t letter =
          length == 1 ? first : static_cast<size_t>(first & 0x1f) << 6 | (static_cast<size_t>(token[i + 1]) & 0x3f);
      if (letter >= letters_.size() || letters_[letter] < 0) return false;
      bytes += static_cast<char>(letters_[letter]);
      i += length;
    }
    return true;
  }

 private:
  std::array<int16_t, 512> letters_{};
};

/// The vocabulary by bytes; those that are written in other letters are added tokens, as they stand.
void read_vocabulary(const json& vocabulary, const std::string& file, const ByteLetters& letters, ByteLevelBpe& parts) {
  if (!vocabulary.is_object()) refuse(file, "has no vocabulary: an object of tokens and their numbers");
  std::string bytes;
  for (const auto& [text, id] : vocabulary.items()) {
    if (!id.is_number_integer()) refuse(file, concat("the number of token ", in_quotes(text), " is ", id.type_name()));
    const auto number = id.get<int32_t>();
    const bool known = std::any_of(parts.added.begin(), parts.added.end(),
                                   [&](const AddedToken& token) { return token.id == number; });
    if (known) continue;
    if (!letters.read(text, bytes)) {
      parts.added.push_back({.id = number, .text = text, .special = true});
    } else if (!parts.vocabulary.emplace(bytes, number).second) {
      refuse(file, concat("token ", in_quotes(text), " is there twice"));
    }
  }
}

void add_merge(std::string_view left, std::string_view right, const std::string& place, const ByteLetters& letters,
               ByteLevelBpe& parts) {
  std::pair<std::string, std::string> merge;
  if (!letters.read(left, merge.first) || !letters.read(right, merge.second))
    refuse(place, concat(in_quotes(left), " and ", in_quotes(right), " are not in the letters of byte-level BPE"));
  parts.merges.push_back(std::move(merge));
}

void add_merge(std::string_view line, const std::string& place, const ByteLetters& letters, ByteLevelBpe& parts) {
  const size_t blank = line.find(' ');
  if (blank == std::string_view::npos || line.find(' ', blank + 1) != std::string_view::npos)
    refuse(place, concat(in_quotes(line), " is no merge: two tokens with a blank between"));
  add_merge(line.substr(0, blank), line.substr(blank + 1), place, letters, parts);
}

void read_added(const json& added, const std::string& file, ByteLevelBpe& parts) {
  for (const json& token : added) {
    const json& id = member(token, "id");
    const json& content = member(token, "content");
    if (!id.is_number_integer() || !content.is_string()) refuse(file, "an added token lacks its id or its content");
    AddedToken read{.id = id.get<int32_t>(), .text = content.get<std::string>(), .special = flag(token, "special")};
    for (const char* const key : {"single_word", "lstrip", "rstrip"}) {
      if (!read.special && flag(token, key))
        refuse(file, concat("added token ", in_quotes(read.text), " has ", key, ", which loses or hides text"));
    }
    parts.added.push_back(std::move(read));
  }
}

/// The patterns of a pre-tokenizer, or of a list of them.
void read_pre_tokenizer(const json& part, const std::string& file, ByteLevelBpe& parts) {
  const std::string type = text_of(member(part, "type"), "none");
  if (type == "Sequence") {
    for (const json& one : member(part, "pretokenizers")) read_pre_tokenizer(one, file, parts);
  } else if (type == "ByteLevel") {
    if (flag(part, "add_prefix_space"))
      refuse(file, "pre_tokenizer.add_prefix_space is true, which adds a blank that the text has not");
    const json& regex = member(part, "use_regex");
    if (!regex.is_boolean() || regex.get<bool>()) parts.patterns.emplace_back(kGpt2Pattern);
  } else if (type == "Digits") {
    parts.patterns.emplace_back(flag(part, "individual_digits") ? R"(\p{N})" : R"(\p{N}+)");
  } else if (type == "Split") {
    const json& pattern = member(member(part, "pattern"), "Regex");
    if (!pattern.is_string()) refuse(file, "pre_tokenizer Split has no pattern.Regex");
    const std::string behaviour = text_of(member(part, "behavior"), "none");
    const bool all = behaviour == "Isolated" || (behaviour == "Removed" && flag(part, "invert"));
    if (!all)
      refuse_kind(file, "pre_tokenizer Split's behavior", behaviour, "Isolated, and Removed of what is inverted");
    parts.patterns.push_back(pattern.get<std::string>());
  } else {
    refuse_kind(file, "pre_tokenizer.type", type, "ByteLevel, Split, Digits, and Sequence of these");
  }
}

/// The token that tokenizer_config.json says, or one that is known to end documents.
void find_end(const TokenizerFiles::File* config, const std::string& file, ByteLevelBpe& parts) {
  std::vector<std::string> candidates(kEnds.begin(), kEnds.end());
  if (config) {
    const json settings = read_json(*config);
    const json& end = member(settings, "eos_token");
    const std::string text = text_of(end.is_object() ? member(end, "content") : end, "");
    if (!text.empty()) candidates = {text};
  }
  for (const std::string& text : candidates) {
    for (AddedToken& token : parts.added) {
      if (token.text != text) continue;
      token.special = true;
      parts.end_of_document = token.id;
      return;
    }
    if (const auto found = parts.vocabulary.find(text); found != parts.vocabulary.end()) {
      parts.end_of_document = found->second;
      parts.added.push_back({.id = found->second, .text = text, .special = true});
      parts.vocabulary.erase(found);
      return;
    }
  }
  if (candidates.size() == 1)
    refuse(config->path, concat("eos_token is ", in_quotes(candidates[0]), ", which ", file, " has not"));
  refuse(file, "no token is known to end documents; a tokenizer_config.json beside it names it as eos_token");
}

}  // namespace

ByteLevelBpe read_tokenizer_json(const TokenizerFiles::File& file, const TokenizerFiles::File* config) {
  const std::string& path = file.path;
  const json all = read_json(file);
  const json& model = member(all, "model");
  const std::string type = text_of(member(model, "type"), model.contains("merges") ? "BPE" : "none");
  if (type != "BPE") refuse_kind(path, "model.type", type, "BPE over bytes (and SentencePiece's own .model files)");
  if (const json& normalizer = member(all, "normalizer"); !normalizer.is_null())
    refuse_kind(path, "normalizer.type", text_of(member(normalizer, "type"), "none"),
                "those without a normalizer, which changes text");
  if (flag(model, "byte_fallback")) refuse(path, "model.byte_fallback is true; this is not byte-level BPE");
  for (const char* const key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!text_of(member(model, key), "").empty()) refuse(path, concat("model.", key, " is not empty"));
  }
  ByteLevelBpe parts;
  parts.name = path;
  parts.whole_pieces_first = flag(model, "ignore_merges");
  const ByteLetters letters;
  read_added(member(all, "added_tokens"), path, parts);
  read_vocabulary(member(model, "vocab"), path, letters, parts);
  size_t number = 0;
  for (const json& merge : member(model, "merges")) {
    const std::string place = concat(path, ": merge ", ++number);
    if (merge.is_string()) {
      add_merge(merge.get<std::string>(), place, letters, parts);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      add_merge(merge[0].get<std::string>(), merge[1].get<std::string>(), place, letters, parts);
    } else {
      refuse(place, "is neither a text nor a pair of texts");
    }
  }
  read_pre_tokenizer(member(all, "pre_tokenizer"), path, parts);
  find_end(config, path, parts);
  return parts;
}

ByteLevelBpe read_vocabulary_and_merges(const TokenizerFiles::File& vocabulary, const TokenizerFiles::File& merges,
                                        const TokenizerFiles::File* config) {
  ByteLevelBpe parts;
  parts.name = vocabulary.path;
  parts.patterns = {kGpt2Pattern};
  const ByteLetters letters;
  read_vocabulary(read_json(vocabulary), vocabulary.path, letters, parts);
  const std::string_view text = merges.contents;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    begin = end + 1;
    const bool version = ++number == 1 && line.starts_with("#version");
    if (!version && !line.empty()) add_merge(line, concat(merges.path, ":", number), letters, parts);
  }
  find_end(config, vocabulary.path, parts);
  return parts;
}

}  // namespace retain
