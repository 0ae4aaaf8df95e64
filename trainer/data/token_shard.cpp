#include "trainer/data/token_shard.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <string_view>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/text.h"

namespace retain {
namespace {

constexpr int64_t kBlockElements = 1 << 16;  // of the index, read at a time: memory does not grow with the set
constexpr int64_t kReadBytes = 1 << 16;      // of the tokens, converted at a time
constexpr size_t kNamedSets = 8;             // in a message
constexpr int64_t kSampleBlocks = 64;        // blocks of the tokens that enter the fingerprint
constexpr int64_t kSampleBlockBytes = 1 << 12;

/// The sets in the folder `prefix`, or else in its folder: those that share a beginning with it (PREFIX_train and
/// PREFIX_valid after a holdout), or else all.
std::string sets_nearby(const std::string& prefix) {
  const std::filesystem::path path(prefix);
  std::error_code error;
  const bool inside = std::filesystem::is_directory(path, error);
  const auto folder = inside ? path : path.parent_path();
  const std::string wanted = inside ? "" : path.filename().string();
  std::vector<std::string> all, akin;
  for (std::filesystem::directory_iterator entry(folder.empty() ? "." : folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() != ".idx") continue;
    const std::string name = entry->path().stem().string();
    all.push_back((folder / name).string());
    if (name.starts_with(wanted) || wanted.starts_with(name)) akin.push_back(all.back());
  }
  std::vector<std::string>& named = akin.empty() ? all : akin;
  std::sort(named.begin(), named.end());
  std::string list;
  for (size_t i = 0; i < std::min(named.size(), kNamedSets); ++i) list += (i ? ", " : "") + named[i];
  return list + (named.size() > kNamedSets ? ", ..." : "");
}

/// Says what is there instead of a set.
[[noreturn]] void refuse_no_set(const std::string& prefix, const std::string& path) {
  std::error_code unreadable;
  std::string message = concat(in_quotes(path), " is no set of tokens: there is no ", prefix, ".idx");
  if (std::filesystem::exists(prefix + ".bin", unreadable)) {
    message += concat(" beside ", prefix, ".bin, which has no header of llm.c; ", kNanoGpt, prefix,
                      ".bin takes all of it as uint16, as nanoGPT does");
  } else if (path == prefix && std::filesystem::is_regular_file(path, unreadable)) {
    message += "; 'retain data prepare' makes a set of a text";
  } else if (const std::string others = sets_nearby(prefix); !others.empty()) {
    message += concat("; sets nearby: ", others);
  } else {
    message += "; 'retain data prepare' makes sets";
  }
  throw Error(ErrorKind::kMissingInput, message);
}

template <class Found, class Want>
[[noreturn]] void damaged(const File& file, int64_t offset, const std::string& what, const Found& found,
                          const Want& want) {
  throw Error(ErrorKind::kData,
              concat(file.path().string(), ": byte ", offset, ": ", what, ": found ", found, ", want ", want));
}

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
void read_elements(const File& file, int64_t offset, std::vector<T>& out) {
  file.read(out.data(), static_cast<int64_t>(out.size() * sizeof(T)), offset);
}

/// Stored tokens as int32; returns the position of the first that is outside [0, limit), or -1.
template <class T>
int64_t widen(const std::byte* from, std::span<int32_t> to, int64_t limit) {
  for (size_t i = 0; i < to.size(); ++i) {
    const auto value = static_cast<int64_t>(load<T>(from + i * sizeof(T)));  // NOLINT(bugprone-signed-char-misuse)
    if (value < 0 || value >= limit) return static_cast<int64_t>(i);
    to[i] = static_cast<int32_t>(value);
  }
  return -1;
}

int64_t widen(TokenType type, const std::byte* from, std::span<int32_t> to, int64_t limit) {
  switch (type) {
    case TokenType::kUint8: return widen<uint8_t>(from, to, limit);
    case TokenType::kInt8: return widen<int8_t>(from, to, limit);
    case TokenType::kInt16: return widen<int16_t>(from, to, limit);
    case TokenType::kInt32: return widen<int32_t>(from, to, limit);
    case TokenType::kInt64: return widen<int64_t>(from, to, limit);
    case TokenType::kUint16: return widen<uint16_t>(from, to, limit);
  }
  return 0;
}

int64_t stored_token(TokenType type, const std::byte* from) {
  switch (type) {
    case TokenType::kUint8: return load<uint8_t>(from);
    case TokenType::kInt8: return load<int8_t>(from);
    case TokenType::kInt16: return load<int16_t>(from);
    case TokenType::kInt32: return load<int32_t>(from);
    case TokenType::kInt64: return load<int64_t>(from);
    case TokenType::kUint16: return load<uint16_t>(from);
  }
  return 0;
}

/// XXH3-64 of what it is given, one after the other.
class Hash {
 public:
  Hash() : state_(XXH3_createState(), XXH3_freeState) { XXH3_64bits_reset(state_.get()); }
  template <class Elements>
  void update(const Elements& elements) {
    XXH3_64bits_update(state_.get(), elements.data(), elements.size() * sizeof elements[0]);
  }
  uint64_t digest() const { return XXH3_64bits_digest(state_.get()); }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

/// Calls visit(bytes) for blocks of the tokens, evenly from the first to the last.
template <class Visit>
void for_sample_blocks(const File& bin, const Visit& visit) {
  std::vector<std::byte> block(static_cast<size_t>(std::min(kSampleBlockBytes, bin.bytes())));
  const int64_t last = bin.bytes() - static_cast<int64_t>(block.size());
  for (int64_t i = 0; i < kSampleBlocks; ++i) {
    read_elements(bin, last / (kSampleBlocks - 1) * i + last % (kSampleBlocks - 1) * i / (kSampleBlocks - 1), block);
    visit(block);
  }
}

/// The header of llm.c's files of tokens: 256 int32, of which three are used.
struct LlmCHeader {
  static constexpr int64_t kBytes = 1024;
  static constexpr int32_t kUint16 = 20240520, kUint32 = 20240801;  // of GPT-2's tokens, of Llama 3's
  static constexpr int32_t kEvaluation = 20240522, kTokenizer = 20240328, kModel = 20240326;
  int32_t magic = 0, version = 0, tokens = 0;
};

LlmCHeader read_llm_c_header(const File& bin) {
  std::vector<int32_t> header(3);
  if (bin.bytes() < static_cast<int64_t>(header.size() * sizeof(int32_t))) return {};
  read_elements(bin, 0, header);
  return {header[0], header[1], header[2]};
}

bool is_llm_c(const LlmCHeader& header) {
  switch (header.magic) {
    case LlmCHeader::kUint16:
    case LlmCHeader::kUint32:
    case LlmCHeader::kEvaluation:
    case LlmCHeader::kTokenizer:
    case LlmCHeader::kModel: return true;
    default: return false;
  }
}

/// Type and number of the tokens, by a header that agrees with the file's size.
TokenShardFacts check_llm_c(const File& bin) {
  const LlmCHeader header = read_llm_c_header(bin);
  const bool wide = header.magic == LlmCHeader::kUint32;
  if (!wide && header.magic != LlmCHeader::kUint16) {
    const char* const kind = header.magic == LlmCHeader::kEvaluation  ? "of an evaluation (HellaSwag) of llm.c"
                             : header.magic == LlmCHeader::kTokenizer ? "of a tokenizer of llm.c"
                             : header.magic == LlmCHeader::kModel     ? "of a model of llm.c"
                                                                      : "of something else";
    damaged(bin, 0, "magic", concat(header.magic, ", ", kind),
            concat(LlmCHeader::kUint16, " or ", LlmCHeader::kUint32, " of llm.c's tokens"));
  }
  const int32_t version = wide ? 7 : 1;
  if (header.version != version) damaged(bin, 4, "version", header.version, version);
  if (header.tokens < 1) damaged(bin, 8, "number of tokens", header.tokens, "at least 1");
  // Llama 3's are uint32, of which no vocabulary uses what an int32 does not have.
  TokenShardFacts facts{.header = {wide ? TokenType::kInt32 : TokenType::kUint16, 1, 2}};
  facts.format = TokenFormat::kLlmC;
  facts.tokens_at = LlmCHeader::kBytes;
  facts.bytes = header.tokens * token_type_bytes(facts.header.type);
  const int64_t size = facts.tokens_at + facts.bytes;
  if (bin.bytes() != size) {
    damaged(bin, std::min(bin.bytes(), size), "size of the file", bin.bytes(),
            concat(size, " for the ", header.tokens, " tokens of its header"));
  }
  return facts;
}

TokenShardFacts check_nano_gpt(const File& bin) {
  if (bin.bytes() == 0 || bin.bytes() % 2 != 0)
    damaged(bin, bin.bytes(), "size of the file", bin.bytes(), "an even number of bytes, of uint16");
  if (is_llm_c(read_llm_c_header(bin)))
    damaged(bin, 0, "magic", "a header of llm.c", concat("nothing but uint16; name the file without ", kNanoGpt));
  TokenShardFacts facts{.header = {TokenType::kUint16, 1, 2}};
  facts.format = TokenFormat::kNanoGpt;
  facts.bytes = bin.bytes();
  return facts;
}

}  // namespace

int64_t token_type_bytes(TokenType type) {
  switch (type) {
    case TokenType::kUint8:
    case TokenType::kInt8: return 1;
    case TokenType::kInt16:
    case TokenType::kUint16: return 2;
    case TokenType::kInt32: return 4;
    case TokenType::kInt64: return 8;
  }
  return 0;
}

const char* token_format_name(TokenFormat format) {
  switch (format) {
    case TokenFormat::kMegatron: return "megatron";
    case TokenFormat::kLlmC: return "llm.c";
    case TokenFormat::kNanoGpt: return "nanogpt";
  }
  return "unknown";
}

const char* token_type_name(TokenType type) {
  switch (type) {
    case TokenType::kUint8: return "uint8";
    case TokenType::kInt8: return "int8";
    case TokenType::kInt16: return "int16";
    case TokenType::kInt32: return "int32";
    case TokenType::kInt64: return "int64";
    case TokenType::kUint16: return "uint16";
  }
  return "unknown";
}

std::string token_set_prefix(const std::string& path) {
  for (const std::string_view extension : {".bin", ".idx"}) {
    if (path.ends_with(extension)) return path.substr(0, path.size() - extension.size());
  }
  return path;
}

namespace {

TokenIndexHeader read_header(const File& idx) {
  if (idx.bytes() < TokenIndexHeader::kBytes) {
    damaged(idx, idx.bytes(), "size of the index", concat(idx.bytes(), " bytes"),
            concat("at least the header's ", TokenIndexHeader::kBytes));
  }
  std::array<std::byte, TokenIndexHeader::kBytes> raw;
  idx.read(raw.data(), TokenIndexHeader::kBytes, 0);
  if (std::memcmp(raw.data(), TokenIndexHeader::kMagic, sizeof TokenIndexHeader::kMagic) != 0) {
    damaged(idx, 0, "magic", "other bytes", "'MMIDIDX\\0\\0' of an index of tokens (Megatron IndexedDataset)");
  }
  const auto version = load<uint64_t>(&raw[9]);
  if (version != TokenIndexHeader::kVersion) damaged(idx, 9, "version", version, TokenIndexHeader::kVersion);
  const auto code = load<uint8_t>(&raw[17]);
  if (code < 1 || code > 8 || code == 6 || code == 7) {
    damaged(idx, 17, "code of the tokens' type", int{code}, "1 uint8, 2 int8, 3 int16, 4 int32, 5 int64 or 8 uint16");
  }
  const auto sequences = load<uint64_t>(&raw[18]), boundaries = load<uint64_t>(&raw[26]);
  const auto size = static_cast<uint64_t>(idx.bytes());
  if (sequences == 0) damaged(idx, 18, "number of sequences", 0, "at least 1: there are no tokens");
  // Both counts are bounded by the file's size before they are multiplied.
  if (sequences > size / 12) damaged(idx, 18, "number of sequences", sequences, concat("what fits ", size, " bytes"));
  if (boundaries < 2 || boundaries > size / 8) {
    damaged(idx, 26, "number of document boundaries", boundaries, concat("2 to what fits ", size, " bytes"));
  }
  const uint64_t want = TokenIndexHeader::kBytes + 12 * sequences + 8 * boundaries;
  if (size == want + sequences) {
    damaged(idx, static_cast<int64_t>(want), "list of modes", "a multimodal set", "text only");
  }
  if (size != want) damaged(idx, std::min(idx.bytes(), static_cast<int64_t>(want)), "size of the index", size, want);
  return {static_cast<TokenType>(code), static_cast<int64_t>(sequences), static_cast<int64_t>(boundaries)};
}

/// Checks lengths and offsets, and hashes them in their order in the file: lengths are read twice, and memory does not
/// grow with their number.
void check_sequences(const File& idx, const File& bin, const TokenIndexHeader& header, Hash& hash) {
  const int64_t lengths_at = TokenIndexHeader::kBytes, offsets_at = lengths_at + 4 * header.sequences;
  const int64_t token_bytes = token_type_bytes(header.type);
  int64_t expected = 0;  // the byte at which the next sequence starts
  std::vector<int32_t> lengths;
  std::vector<int64_t> offsets;
  for (int64_t first = 0; first < header.sequences; first += kBlockElements) {
    lengths.resize(static_cast<size_t>(std::min(kBlockElements, header.sequences - first)));
    read_elements(idx, lengths_at + 4 * first, lengths);
    hash.update(lengths);
  }
  for (int64_t first = 0; first < header.sequences; first += kBlockElements) {
    const int64_t count = std::min(kBlockElements, header.sequences - first);
    lengths.resize(static_cast<size_t>(count));
    offsets.resize(static_cast<size_t>(count));
    read_elements(idx, lengths_at + 4 * first, lengths);
    read_elements(idx, offsets_at + 8 * first, offsets);
    hash.update(offsets);
    for (int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<size_t>(i);
      if (lengths[at] < 0) {
        damaged(idx, lengths_at + 4 * (first + i), concat("length of sequence ", first + i), lengths[at], "0 or more");
      }
      if (offsets[at] != expected) {
        damaged(idx, offsets_at + 8 * (first + i), concat("offset of sequence ", first + i), offsets[at], expected);
      }
      expected += lengths[at] * token_bytes;
      if (expected > bin.bytes()) {
        damaged(bin, bin.bytes(), "size of the tokens", bin.bytes(),
                concat("at least ", expected, ", where sequence ", first + i, " ends"));
      }
    }
  }
  if (expected != bin.bytes()) damaged(bin, expected, "size of the tokens", bin.bytes(), expected);
  if (expected == 0) damaged(bin, 0, "number of tokens", 0, "at least 1");
}

void check_documents(const File& idx, const TokenIndexHeader& header, Hash& hash) {
  const int64_t documents_at = TokenIndexHeader::kBytes + 12 * header.sequences;
  int64_t previous = 0;
  std::vector<int64_t> documents;
  for (int64_t first = 0; first < header.boundaries; first += kBlockElements) {
    const int64_t count = std::min(kBlockElements, header.boundaries - first);
    documents.resize(static_cast<size_t>(count));
    read_elements(idx, documents_at + 8 * first, documents);
    hash.update(documents);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t boundary = documents[static_cast<size_t>(i)], offset = documents_at + 8 * (first + i);
      const std::string what = "document boundary";
      if (first + i == 0 && boundary != 0) damaged(idx, offset, what, boundary, 0);
      if (boundary < previous) damaged(idx, offset, what, boundary, concat(previous, " or more"));
      if (boundary > header.sequences) damaged(idx, offset, what, boundary, concat("at most ", header.sequences));
      previous = boundary;
    }
  }
  if (previous != header.sequences) {
    damaged(idx, idx.bytes() - 8, "last document boundary", previous, header.sequences);
  }
}

/// Checks the whole index against the files, in the pass that hashes it.
TokenShardFacts check_megatron(const File& idx, const File& bin, Hash& all) {
  TokenShardFacts facts{.header = read_header(idx)};
  facts.bytes = bin.bytes();
  std::vector<std::byte> header(TokenIndexHeader::kBytes);
  read_elements(idx, 0, header);
  all.update(header);
  check_sequences(idx, bin, facts.header, all);
  check_documents(idx, facts.header, all);
  all.update(std::array<int64_t, 2>{idx.bytes(), bin.bytes()});
  return facts;
}

/// What a shard is by its files' names, and, without an index, by its first bytes.
TokenFormat format_of(const std::string& prefix, const std::string& path, OpenFiles& files) {
  std::error_code unreadable;
  if (std::filesystem::exists(prefix + ".idx", unreadable) || unreadable) return TokenFormat::kMegatron;
  const bool alone = std::filesystem::is_regular_file(prefix + ".bin", unreadable);
  if (alone && is_llm_c(read_llm_c_header(*files.open(prefix + ".bin")))) return TokenFormat::kLlmC;
  refuse_no_set(prefix, path);
}

std::string prefix_of(const std::string& path) {
  const std::string_view nano = kNanoGpt;
  return path.starts_with(nano) ? path.substr(nano.size()) : token_set_prefix(path);
}

}  // namespace

TokenShard::TokenShard(const std::string& path, int64_t vocab_size, std::shared_ptr<OpenFiles> files)
    : prefix_(prefix_of(path)), vocab_size_(std::min(vocab_size, kAnyVocabulary)), files_(std::move(files)) {
  facts_.format = path.starts_with(kNanoGpt) ? TokenFormat::kNanoGpt : format_of(prefix_, path, *files_);
  Hash all, sample;
  const auto bin = facts_.format == TokenFormat::kMegatron ? nullptr : binary();
  switch (facts_.format) {
    case TokenFormat::kMegatron: facts_ = check_megatron(*index(), *binary(), all); break;
    case TokenFormat::kLlmC: facts_ = check_llm_c(*bin); break;
    case TokenFormat::kNanoGpt: facts_ = check_nano_gpt(*bin); break;
  }
  if (bin) all.update(std::array<int64_t, 1>{bin->bytes()});
  for_sample_blocks(*binary(), [&](const std::vector<std::byte>& block) {
    all.update(block);
    sample.update(block);
  });
  facts_.fingerprint = all.digest();
  facts_.sample = sample.digest();
}

TokenShard::TokenShard(const std::string& path, int64_t vocab_size, std::shared_ptr<OpenFiles> files,
                       const TokenShardFacts& known)
    : prefix_(prefix_of(path)),
      vocab_size_(std::min(vocab_size, kAnyVocabulary)),
      files_(std::move(files)),
      facts_(known) {
  const auto same = [](const File& file, const char* what, const auto& here, const auto& there) {
    if (here == there) return;
    throw Error(ErrorKind::kConfig,
                concat(file.path().string(), " is another file than rank 0 reads: ", what, " is ", here, ", there ",
                       there, "; every rank needs the same sets, in a folder that all share or copied alike"));
  };
  const auto idx = known.format == TokenFormat::kMegatron ? index() : nullptr, bin = binary();
  if (idx) {
    const TokenIndexHeader header = read_header(*idx);
    same(*idx, "the tokens' type", token_type_name(header.type), std::string_view(token_type_name(known.header.type)));
    same(*idx, "the number of sequences", header.sequences, known.header.sequences);
    same(*idx, "the number of document boundaries", header.boundaries, known.header.boundaries);
  }
  same(*bin, "its size", bin->bytes(), known.tokens_at + known.bytes);
  Hash sample;
  for_sample_blocks(*bin, [&](const std::vector<std::byte>& block) { sample.update(block); });
  same(*bin, "the hash of a sample of its tokens", sample.digest(), known.sample);
}

int64_t TokenShard::document_begin(const File& idx, int64_t document) const {
  const int64_t offsets_at = TokenIndexHeader::kBytes + 4 * facts_.header.sequences;
  std::array<int64_t, 1> sequence, offset;
  idx.read(sequence.data(), sizeof sequence, offsets_at + 8 * (facts_.header.sequences + document));
  if (sequence[0] == facts_.header.sequences) return tokens();
  idx.read(offset.data(), sizeof offset, offsets_at + 8 * sequence[0]);
  return offset[0] / token_type_bytes(type());
}

int64_t TokenShard::document_begin(int64_t document) const {
  RETAIN_CHECK(document >= 0 && document <= documents(), prefix_, ": document ", document, " of ", documents());
  if (facts_.format != TokenFormat::kMegatron) return document == 0 ? 0 : tokens();
  return document_begin(*index(), document);
}

std::vector<int64_t> TokenShard::document_begins(int64_t begin, int64_t end) const {
  if (documents() == 1) return {};
  const auto idx = index();
  int64_t low = 1, high = documents();  // the first document in [low, high] that begins at `begin` or behind it
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (document_begin(*idx, middle) < begin) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  std::vector<int64_t> begins;
  for (; low < documents(); ++low) {
    const int64_t at = document_begin(*idx, low);
    if (at >= end) break;
    // A document may be empty, and an index be written anew under us.
    if (at >= std::max<int64_t>(begin, 1) && (begins.empty() || begins.back() < at)) begins.push_back(at);
  }
  return begins;
}

void TokenShard::read(int64_t begin, std::span<int32_t> out, int64_t limit) const {
  const auto bin = binary();
  const auto count = static_cast<int64_t>(out.size());
  RETAIN_CHECK(begin >= 0 && count <= tokens() && begin <= tokens() - count, prefix_, ": tokens ", begin, " to ",
               begin + count, " of ", tokens());
  std::array<std::byte, kReadBytes> raw;
  const int64_t token_bytes = token_type_bytes(type());
  for (int64_t done = 0; done < count;) {
    const int64_t part = std::min(kReadBytes / token_bytes, count - done);
    const int64_t offset = facts_.tokens_at + (begin + done) * token_bytes;
    bin->read(raw.data(), part * token_bytes, offset);
    const int64_t bad =
        widen(type(), raw.data(), out.subspan(static_cast<size_t>(done), static_cast<size_t>(part)), limit);
    if (bad >= 0) {
      const int64_t found = stored_token(type(), &raw[static_cast<size_t>(bad * token_bytes)]);
      damaged(*bin, offset + bad * token_bytes, concat("token ", begin + done + bad), found,
              concat("0 to ", limit - 1, " (the vocabulary has ", limit, " tokens",
                     found >= 0 && found < kAnyVocabulary ? concat(", at least ", found + 1, " are needed)") : ")"));
    }
    done += part;
  }
  if (files_->is_unchanged(binary_path())) return;
  throw Error(ErrorKind::kData, concat(place_of(begin),
                                       ": the file was written while it was in use; a set that is "
                                       "trained on must stay as it is"));
}

std::string TokenShard::place_of(int64_t token) const {
  return concat(binary_path(), ": byte ", facts_.tokens_at + token * token_type_bytes(type()), ": token ", token);
}

}  // namespace retain
