#include "trainer/data/token_set.h"

#include <glob.h>
#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/text.h"

namespace retain {
namespace {

constexpr std::string_view kPatterns = "*?[{";

bool exists(const std::string& path) {
  std::error_code unreadable;
  return std::filesystem::exists(path, unreadable);
}

/// What a pattern matches, in the order of names, and of braces.
std::vector<std::string> matches(const std::string& pattern) {
  glob_t found = {};
  ::glob(pattern.c_str(), GLOB_BRACE, nullptr, &found);
  std::vector<std::string> paths(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  return paths;
}

/// The shards that a path names, in their order.
std::vector<std::string> shard_paths(const std::string& path) {
  const bool nano = path.starts_with(kNanoGpt);
  const std::string plain = nano ? path.substr(std::string_view(kNanoGpt).size()) : path;
  if (!may_name_several(path) || exists(plain) || exists(plain + ".idx") || exists(plain + ".bin")) return {path};
  const bool whole = nano || plain.ends_with(".bin") || plain.ends_with(".idx");
  std::vector<std::string> paths;
  for (const std::string& match : matches(whole ? plain : plain + ".{idx,bin}")) {
    std::string shard = nano ? kNanoGpt + match : token_set_prefix(match);
    if (std::find(paths.begin(), paths.end(), shard) == paths.end()) paths.push_back(std::move(shard));
  }
  if (paths.empty()) throw Error(ErrorKind::kMissingInput, concat(in_quotes(path), ": no files match this pattern"));
  return paths;
}

}  // namespace

bool may_name_several(const std::string& path) { return path.find_first_of(kPatterns) != std::string::npos; }

TokenSet::TokenSet(const std::string& path, int64_t vocab_size, std::shared_ptr<OpenFiles> files) {
  const std::vector<std::string> paths = shard_paths(path);
  if (!files) files = paths.size() == 1 ? std::make_shared<OpenFiles>(2) : std::make_shared<OpenFiles>();
  for (const std::string& shard : paths) shards_.emplace_back(shard, vocab_size, files);
  prefix_ = paths.size() == 1 ? shards_.front().prefix() : path;
  count();
}

TokenSet::TokenSet(const std::string& path, int64_t vocab_size, const std::shared_ptr<OpenFiles>& files,
                   const TokenSetFacts& known) {
  const std::vector<std::string> paths = shard_paths(path);
  if (paths.size() != known.shards.size()) {
    throw Error(ErrorKind::kConfig,
                concat(in_quotes(path), " names ", paths.size(), " shards here, and ", known.shards.size(),
                       " on rank 0; every rank needs the same sets, in a folder that all share or copied alike"));
  }
  for (size_t i = 0; i < paths.size(); ++i) shards_.emplace_back(paths[i], vocab_size, files, known.shards[i]);
  prefix_ = paths.size() == 1 ? shards_.front().prefix() : path;
  count();
}

void TokenSet::count() {
  begins_ = first_documents_ = {0};
  for (size_t i = 0; i < shards_.size(); ++i) {
    const auto has_index = [&](size_t shard) { return shards_[shard].format() == TokenFormat::kMegatron; };
    const bool goes_on = i > 0 && !has_index(i) && !has_index(i - 1);
    begins_.push_back(begins_.back() + shards_[i].tokens());
    first_documents_.push_back(first_documents_.back() + (goes_on ? 0 : shards_[i].documents()));
  }
}

int64_t TokenSet::bytes() const {
  int64_t bytes = 0;
  for (const TokenShard& shard : shards_) bytes += shard.bytes();
  return bytes;
}

size_t TokenSet::shard_of(const std::vector<int64_t>& begins, int64_t index) {
  return static_cast<size_t>(std::upper_bound(begins.begin(), begins.end() - 1, index) - begins.begin()) - 1;
}

void TokenSet::read(int64_t begin, std::span<int32_t> out, int64_t limit) const {
  RETAIN_CHECK(begin >= 0 && std::ssize(out) <= tokens() && begin <= tokens() - std::ssize(out), prefix_, ": tokens ",
               begin, " to ", begin + std::ssize(out), " of ", tokens());
  for (size_t i = shard_of(begins_, begin); !out.empty(); ++i) {
    const auto part = static_cast<size_t>(std::min<int64_t>(std::ssize(out), begins_[i + 1] - begin));
    shards_[i].read(begin - begins_[i], out.first(part), limit);
    begin += static_cast<int64_t>(part);
    out = out.subspan(part);
  }
}

std::string TokenSet::place_of(int64_t token) const {
  const size_t i = shard_of(begins_, token);
  return shards_[i].place_of(token - begins_[i]);
}

int64_t TokenSet::document_begin(int64_t document) const {
  RETAIN_CHECK(document >= 0 && document <= documents(), prefix_, ": document ", document, " of ", documents());
  if (document == documents()) return tokens();
  const size_t i = shard_of(first_documents_, document);
  return begins_[i] + shards_[i].document_begin(document - first_documents_[i]);
}

std::vector<int64_t> TokenSet::document_begins(int64_t begin, int64_t end) const {
  std::vector<int64_t> all;
  for (size_t i = shard_of(begins_, begin); i < shards_.size() && begins_[i] < end; ++i) {
    const bool begins_one = i > 0 && first_documents_[i + 1] > first_documents_[i];
    if (begins_one && begins_[i] >= begin) all.push_back(begins_[i]);
    const int64_t from = std::max<int64_t>(begin - begins_[i], 0), to = std::min(end, begins_[i + 1]) - begins_[i];
    for (const int64_t at : shards_[i].document_begins(from, to)) all.push_back(begins_[i] + at);
  }
  return all;
}

uint64_t TokenSet::fingerprint() const {
  if (shards_.size() == 1) return shards_.front().fingerprint();
  std::vector<uint64_t> all;
  for (const TokenShard& shard : shards_) all.push_back(shard.fingerprint());
  return XXH3_64bits(all.data(), all.size() * sizeof(uint64_t));
}

TokenSetFacts TokenSet::facts() const {
  TokenSetFacts facts;
  for (const TokenShard& shard : shards_) facts.shards.push_back(shard.facts());
  return facts;
}

}  // namespace retain
