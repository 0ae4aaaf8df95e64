#include "parallel/agreement.h"

namespace retain {

namespace {

TensorView bytes_of(std::string& text) { return {text.data(), DType::kUint8, {static_cast<int64_t>(text.size())}}; }
TensorView view_of(int64_t& value) { return {&value, DType::kUint8, {static_cast<int64_t>(sizeof value)}}; }

}  // namespace

std::vector<int32_t> all_values(Communicator& host, int32_t mine) {
  std::vector<int32_t> values(static_cast<size_t>(host.size()), mine);
  const TensorView all(values.data(), DType::kInt32, {host.size()});
  host.all_gather(all, all.slice(0, host.rank(), 1)).wait();
  return values;
}

std::string broadcast_text(Communicator& host, const std::string& text, int root) {
  int64_t bytes = static_cast<int64_t>(text.size());
  host.broadcast(view_of(bytes), root).wait();
  std::string copy = text;
  copy.resize(static_cast<size_t>(bytes));
  if (bytes > 0) host.broadcast(bytes_of(copy), root).wait();
  return copy;
}

std::vector<std::string> gather_texts(Communicator& host, const std::string& mine) {
  std::string text = mine;
  int64_t bytes = static_cast<int64_t>(text.size());
  if (host.rank() != 0) {
    host.send(view_of(bytes), 0).wait();
    if (bytes > 0) host.send(bytes_of(text), 0).wait();
    return {};
  }
  std::vector<std::string> texts{mine};
  for (int peer = 1; peer < host.size(); ++peer) {
    host.receive(view_of(bytes), peer).wait();
    texts.emplace_back(static_cast<size_t>(bytes), '\0');
    if (bytes > 0) host.receive(bytes_of(texts.back()), peer).wait();
  }
  return texts;
}

Outcome broadcast_outcome(Communicator& host, const Outcome& mine, int root) {
  int64_t code = mine.ok ? 0 : static_cast<int64_t>(mine.kind);
  host.broadcast(view_of(code), root).wait();
  Outcome outcome{code == 0, code == 0 ? ErrorKind::kInternal : static_cast<ErrorKind>(code), {}, true};
  outcome.message = broadcast_text(host, mine.message, root);
  return outcome;
}

Outcome agree(Communicator& host, const Outcome& mine) {
  const std::vector<int32_t> failed = all_values(host, mine.ok ? 0 : 1);
  for (int rank = 0; rank < host.size(); ++rank) {
    if (failed[static_cast<size_t>(rank)] == 0) continue;
    Outcome named = mine;
    if (host.size() > 1 && rank == host.rank()) named.message = concat("rank ", rank, ": ", mine.message);
    return broadcast_outcome(host, named, rank);
  }
  return {.shared = true};
}

}  // namespace retain
