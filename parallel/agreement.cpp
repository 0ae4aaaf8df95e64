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
