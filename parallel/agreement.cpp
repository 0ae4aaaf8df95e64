#include "parallel/agreement.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace retain {

namespace {

TensorView bytes_of(std::string& text) { return {text.data(), DType::kUint8, {static_cast<int64_t>(text.size())}}; }
template <class Value>
TensorView view_of(Value& value) {
  return {&value, DType::kUint8, {static_cast<int64_t>(sizeof value)}};
}

struct Letter {
  int64_t code = 0;
  std::string text = {};
};

/// root's letter, on every rank: a short one in one broadcast.
Letter broadcast_letter(Communicator& host, const Letter& mine, int root) {
  struct {
    int64_t code, bytes;
    std::array<char, 240> begin;
  } first = {mine.code, static_cast<int64_t>(mine.text.size()), {}};
  mine.text.copy(first.begin.data(), first.begin.size());
  host.broadcast(view_of(first), root).wait();
  Letter letter{first.code, mine.text};
  const size_t bytes = static_cast<size_t>(first.bytes), at_once = std::min(bytes, first.begin.size());
  letter.text.resize(bytes);
  letter.text.replace(0, at_once, first.begin.data(), at_once);
  if (bytes > at_once) host.broadcast(bytes_of(letter.text), root).wait();
  return letter;
}

/// Texts one after the other, the bytes of each before it.
std::string packed(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) {
    const uint64_t bytes = text.size();
    all.append(reinterpret_cast<const char*>(&bytes), sizeof bytes).append(text);
  }
  return all;
}

void unpack(const std::string& all, std::vector<std::string>& texts) {
  for (size_t at = 0; at < all.size();) {
    uint64_t bytes = 0;
    std::memcpy(&bytes, all.data() + at, sizeof bytes);
    texts.push_back(all.substr(at + sizeof bytes, bytes));
    at += sizeof bytes + bytes;
  }
}

/// FNV-1a, which is the same in every build.
uint64_t hash_of(const Facts& facts) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](const std::string& text) {
    for (const char byte : text + '\0') hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  };
  for (const auto& [name, value] : facts) {
    add(name);
    add(value);
  }
  return hash;
}

bool same_on_every_rank(Communicator& host, uint64_t hash) {
  const auto low = static_cast<int32_t>(hash), high = static_cast<int32_t>(hash >> 32);
  std::array<int32_t, 4> least = {low, high, ~low, ~high};  // ~x falls as x rises
  host.all_reduce(TensorView(least.data(), DType::kInt32, {4}), ReduceOp::kMin).wait();
  return least[0] == ~least[2] && least[1] == ~least[3];
}

/// A rank's facts, behind the name of its host.
std::string packed(const Facts& facts, const std::string& host_name) {
  std::vector<std::string> texts = {host_name};
  for (const auto& [name, value] : facts) texts.insert(texts.end(), {name, value});
  return packed(texts);
}

struct RankFacts {
  std::string host;
  Facts facts;

  std::string value(const std::string& name) const {
    const auto found = facts.find(name);
    return found == facts.end() ? "not given" : found->second;
  }
};

RankFacts unpacked(const std::string& all) {
  std::vector<std::string> texts;
  unpack(all, texts);
  RankFacts rank{.host = texts.front(), .facts = {}};
  for (size_t i = 1; i + 1 < texts.size(); i += 2) rank.facts[texts[i]] = texts[i + 1];
  return rank;
}

/// The value that most ranks have of a fact; rank 0's where several are as frequent.
std::string usual_value(const std::vector<RankFacts>& ranks, const std::string& name) {
  std::map<std::string, int64_t> counts;
  for (const RankFacts& rank : ranks) ++counts[rank.value(name)];
  std::string usual = ranks.front().value(name);
  for (const auto& [value, count] : counts) {
    if (count > counts[usual]) usual = value;
  }
  return usual;
}

/// "rank 3 on gpu2 has optimizer.lr = 0.5, and rank 0 on gpu1 has 0.001"; empty where all agree.
std::string first_difference(const std::vector<RankFacts>& ranks) {
  Facts usual;
  for (const RankFacts& rank : ranks) {
    for (const auto& [name, value] : rank.facts) {
      if (!usual.contains(name)) usual[name] = usual_value(ranks, name);
    }
  }
  for (size_t odd = 0; odd < ranks.size(); ++odd) {
    std::string differences;
    for (const auto& [name, value] : usual) {
      if (ranks[odd].value(name) == value) continue;
      size_t other = 0;
      while (ranks[other].value(name) != value) ++other;
      differences += concat(differences.empty() ? "" : "; ", name, " = ", ranks[odd].value(name), ", and rank ", other,
                            " on ", ranks[other].host, " has ", value);
    }
    if (!differences.empty()) return concat("rank ", odd, " on ", ranks[odd].host, " has ", differences);
  }
  return "";
}

}  // namespace

void send_text(Communicator& host, std::string text, int peer) {
  int64_t bytes = static_cast<int64_t>(text.size());
  host.send(view_of(bytes), peer).wait();
  if (bytes > 0) host.send(bytes_of(text), peer).wait();
}

std::string receive_text(Communicator& host, int peer) {
  int64_t bytes = 0;
  host.receive(view_of(bytes), peer).wait();
  std::string text(static_cast<size_t>(bytes), '\0');
  if (bytes > 0) host.receive(bytes_of(text), peer).wait();
  return text;
}

bool on_every_rank(Communicator& host, bool mine) {
  int32_t all = mine ? 1 : 0;
  host.all_reduce(TensorView(&all, DType::kInt32, {1}), ReduceOp::kMin).wait();
  return all != 0;
}

std::string broadcast_text(Communicator& host, const std::string& text, int root) {
  return broadcast_letter(host, {.code = 0, .text = text}, root).text;
}

std::vector<std::string> gather_texts(Communicator& host, const std::string& mine) {
  const int rank = host.rank(), size = host.size();
  std::vector<std::string> texts{mine};  // of this rank and those after it
  for (int distance = 1; distance < size; distance *= 2) {
    if (rank % (2 * distance) != 0) {
      send_text(host, packed(texts), rank - distance);
      return {};
    }
    if (rank + distance < size) unpack(receive_text(host, rank + distance), texts);
  }
  return texts;
}

void agree_on_facts(Communicator& host, const Facts& mine, const std::string& host_name) {
  if (same_on_every_rank(host, hash_of(mine))) return;
  const std::vector<std::string> all = gather_texts(host, packed(mine, host_name));
  do_on_rank_0(host, [&] {
    std::vector<RankFacts> ranks;
    for (const std::string& rank : all) ranks.push_back(unpacked(rank));
    throw Error(ErrorKind::kConfig, concat("the ranks were not started alike: ", first_difference(ranks),
                                           "; every rank needs the same program and the same arguments"));
  });
}

Outcome broadcast_outcome(Communicator& host, const Outcome& mine, int root) {
  Letter letter = broadcast_letter(host, {mine.ok ? 0 : static_cast<int64_t>(mine.kind), mine.message}, root);
  const bool ok = letter.code == 0;
  return {ok, ok ? ErrorKind::kInternal : static_cast<ErrorKind>(letter.code), std::move(letter.text), true};
}

Outcome agree(Communicator& host, const Outcome& mine) {
  int32_t first = mine.ok ? host.size() : host.rank();  // of those that failed
  host.all_reduce(TensorView(&first, DType::kInt32, {1}), ReduceOp::kMin).wait();
  if (first == host.size()) return {.shared = true};
  Outcome named = mine;
  if (host.size() > 1 && first == host.rank()) named.message = concat("rank ", first, ": ", mine.message);
  return broadcast_outcome(host, named, first);
}

}  // namespace retain
