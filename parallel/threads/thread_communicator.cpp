#include "parallel/threads/thread_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "parallel/collective_arguments.h"
#include "parallel/host_reduce.h"

namespace retain {
namespace {

using Bytes = std::vector<std::byte>;

char* at_byte(const TensorView& x, int64_t byte) { return static_cast<char*>(x.data) + byte; }

class Group;

/// What a rank brings to a collective. Written by its own thread before a meeting, read by the others after it.
struct Post {
  const char* call = "";
  TensorView x;
  ReduceOp op = ReduceOp::kSum;
  int root = 0;
  int color = 0, key = 0;        // of split
  std::shared_ptr<Group> child;  // of split: made by the first member
  Bytes partial;                 // of all_reduce: this rank's slice of the result
};

/// The meeting place of the ranks. Shared by their communicators, because no rank is known to be the last to leave.
class Group {
 public:
  Group(int size, std::chrono::milliseconds deadline) : posts(size), size_(size), deadline_(deadline), left_(size) {}

  int size() const { return size_; }
  std::chrono::milliseconds deadline() const { return deadline_; }

  /// First meeting of a collective: returns when all ranks are here and brought the same call; otherwise all throw.
  void begin(int rank);
  /// A later meeting of a collective. No deadline: after the first meeting a rank only computes, so all will come, and
  /// none may leave while others read its memory.
  void join(int rank);

  void send(const TensorView& x, int from, int to);
  void receive(const TensorView& x, int from, int to);
  void leave(int rank, bool unwinding) noexcept;

  std::vector<Post> posts;

 private:
  [[noreturn]] void fail(int rank) const;
  std::string disagreement() const;  // between posts, in words
  void open_next() {
    arrived_ = 0;
    ++meetings_;
  }

  const int size_;
  const std::chrono::milliseconds deadline_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0;
  int64_t meetings_ = 0;
  std::string failure_;                                       // why no meeting can succeed any more
  std::vector<char> left_;                                    // per rank
  std::map<std::pair<int, int>, std::deque<Bytes>> letters_;  // (from, to)
};

void Group::fail(int rank) const {
  throw Error(ErrorKind::kInternal,
              concat("rank ", rank, " of ", size_, " threads in ", posts[rank].call, ": ", failure_));
}

std::string Group::disagreement() const {
  const Post& a = posts[0];
  for (const Post& b : posts) {
    const bool same = std::string_view(a.call) == b.call && a.x.dtype == b.x.dtype &&
                      a.x.elements() == b.x.elements() && a.op == b.op && a.root == b.root;
    if (same) continue;
    return concat("ranks disagree: rank 0 calls ", a.call, " of ", a.x.describe(), ", root ", a.root, "; rank ",
                  &b - &a, " calls ", b.call, " of ", b.x.describe(), ", root ", b.root);
  }
  return {};
}

void Group::begin(int rank) {
  std::unique_lock lock(mutex_);
  if (!failure_.empty()) fail(rank);
  const int64_t meeting = meetings_;
  if (++arrived_ == size_) {
    failure_ = disagreement();
    if (failure_.empty()) open_next();
    changed_.notify_all();
  } else if (!changed_.wait_for(lock, deadline_, [&] { return meetings_ != meeting || !failure_.empty(); })) {
    failure_ = concat("only ", arrived_, " of the ranks came within ", deadline_.count(), " ms");
    changed_.notify_all();
  }
  if (meetings_ == meeting) fail(rank);
}

void Group::join(int rank) {
  std::unique_lock lock(mutex_);
  const int64_t meeting = meetings_;
  if (++arrived_ == size_) {
    open_next();
    changed_.notify_all();
  } else {
    changed_.wait(lock, [&] { return meetings_ != meeting || !failure_.empty(); });
  }
  if (meetings_ == meeting) fail(rank);
}

void Group::send(const TensorView& x, int from, int to) {
  Bytes letter(static_cast<std::size_t>(x.bytes()));
  std::copy_n(static_cast<const std::byte*>(x.data), x.bytes(), letter.data());
  const std::lock_guard lock(mutex_);
  letters_[{from, to}].push_back(std::move(letter));
  changed_.notify_all();
}

void Group::receive(const TensorView& x, int from, int to) {
  std::unique_lock lock(mutex_);
  std::deque<Bytes>& letters = letters_[{from, to}];
  const bool came =
      changed_.wait_for(lock, deadline_, [&] { return !letters.empty() || left_[static_cast<std::size_t>(from)]; });
  if (letters.empty()) {
    throw Error(ErrorKind::kInternal,
                concat("rank ", to, " receives from rank ", from, ", which ",
                       came ? "has left" : concat("sent nothing for ", deadline_.count(), " ms")));
  }
  const Bytes letter = std::move(letters.front());
  letters.pop_front();
  RETAIN_CHECK(static_cast<int64_t>(letter.size()) == x.bytes(), "rank ", to, " receives ", x.describe(), " but rank ",
               from, " sent ", letter.size(), " bytes");
  std::copy_n(letter.data(), letter.size(), static_cast<std::byte*>(x.data));
}

void Group::leave(int rank, bool unwinding) noexcept {
  const std::lock_guard lock(mutex_);
  left_[static_cast<std::size_t>(rank)] = 1;
  if (failure_.empty()) failure_ = "rank " + std::to_string(rank) + (unwinding ? " threw an exception" : " has ended");
  changed_.notify_all();
}

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<Group> group, int rank) : group_(std::move(group)), rank_(rank) {}
  ~ThreadCommunicator() override { group_->leave(rank_, std::uncaught_exceptions() > 0); }

  const char* name() const override { return "thread"; }
  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }

  Pending all_reduce(const TensorView& x, ReduceOp op) override;
  Pending all_gather(const TensorView& out, const TensorView& in) override;
  Pending reduce_scatter(const TensorView& out, const TensorView& in) override;
  Pending broadcast(const TensorView& x, int root) override;
  Pending send(const TensorView& x, int peer) override;
  Pending receive(const TensorView& x, int peer) override;
  void barrier() override {
    begin("barrier", {});
    end();
  }
  std::unique_ptr<Communicator> split(int color, int key) override;

 private:
  void wait(int64_t) override {}
  Post& mine() { return group_->posts[static_cast<std::size_t>(rank_)]; }
  const Post& post(int rank) const { return group_->posts[static_cast<std::size_t>(rank)]; }

  /// After this, what all ranks brought can be read until end().
  void begin(const char* call, const TensorView& x, ReduceOp op = ReduceOp::kSum, int root = 0) {
    mine().call = call;
    mine().x = x;
    mine().op = op;
    mine().root = root;
    group_->begin(rank_);
  }
  /// After this, nobody reads what this rank brought any more.
  void end() { group_->join(rank_); }

  /// Where this byte of every rank's tensor lies, in rank order.
  std::vector<const void*> parts_at(int64_t byte) const {
    std::vector<const void*> parts;
    for (int r = 0; r < size(); ++r) parts.push_back(at_byte(post(r).x, byte));
    return parts;
  }

  std::shared_ptr<Group> group_;
  int rank_;
};

Pending ThreadCommunicator::all_reduce(const TensorView& x, ReduceOp op) {
  check_collective(x, "all_reduce");
  begin("all_reduce", x, op);
  // Each rank reduces one slice; then all copy all slices.
  const int64_t width = dtype_bytes(x.dtype), n = x.elements();
  const auto first = [&](int rank) { return n * rank / size(); };
  const int64_t count = first(rank_ + 1) - first(rank_);
  Bytes& partial = mine().partial;
  partial.resize(std::max(partial.size(), static_cast<std::size_t>(count * width)));
  reduce_in_order(op, x.dtype, partial.data(), parts_at(first(rank_) * width), count);
  group_->join(rank_);
  for (int r = 0; r < size(); ++r) {
    std::copy_n(post(r).partial.data(), (first(r + 1) - first(r)) * width,
                reinterpret_cast<std::byte*>(at_byte(x, first(r) * width)));
  }
  end();
  return {};
}

Pending ThreadCommunicator::all_gather(const TensorView& out, const TensorView& in) {
  check_all_gather(out, in, rank_, size());
  begin("all_gather", in);
  for (int r = 0; r < size(); ++r) {
    char* slice = at_byte(out, r * in.bytes());
    if (slice != post(r).x.data) std::copy_n(at_byte(post(r).x, 0), in.bytes(), slice);
  }
  end();
  return {};
}

Pending ThreadCommunicator::reduce_scatter(const TensorView& out, const TensorView& in) {
  check_reduce_scatter(out, in, rank_, size());
  begin("reduce_scatter", in);
  // When out is this rank's slice of in, nobody else reads that slice.
  reduce_in_order(ReduceOp::kSum, in.dtype, out.data, parts_at(rank_ * out.bytes()), out.elements());
  end();
  return {};
}

Pending ThreadCommunicator::broadcast(const TensorView& x, int root) {
  check_collective(x, "broadcast");
  check_root(root, size());
  begin("broadcast", x, ReduceOp::kSum, root);
  if (rank_ != root) std::copy_n(at_byte(post(root).x, 0), x.bytes(), at_byte(x, 0));
  end();
  return {};
}

Pending ThreadCommunicator::send(const TensorView& x, int peer) {
  check_collective(x, "send");
  check_peer(peer, rank_, size());
  group_->send(x, rank_, peer);
  return {};
}

Pending ThreadCommunicator::receive(const TensorView& x, int peer) {
  check_collective(x, "receive");
  check_peer(peer, rank_, size());
  group_->receive(x, peer, rank_);
  return {};
}

std::unique_ptr<Communicator> ThreadCommunicator::split(int color, int key) {
  mine().color = color;
  mine().key = key;
  begin("split", {});
  std::vector<int> members;
  for (int r = 0; r < size(); ++r) {
    if (post(r).color == color) members.push_back(r);
  }
  std::stable_sort(members.begin(), members.end(), [&](int a, int b) { return post(a).key < post(b).key; });
  const int n = static_cast<int>(members.size());
  if (members.front() == rank_ && n > 1) mine().child = std::make_shared<Group>(n, group_->deadline());
  group_->join(rank_);
  std::shared_ptr<Group> child = post(members.front()).child;
  end();
  mine().child.reset();
  if (n == 1) return make_self_communicator();
  const auto at = std::find(members.begin(), members.end(), rank_) - members.begin();
  return std::make_unique<ThreadCommunicator>(std::move(child), static_cast<int>(at));
}

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_thread_communicators(int n, std::chrono::milliseconds deadline) {
  RETAIN_CHECK(n >= 1, n, " ranks");
  std::vector<std::unique_ptr<Communicator>> ranks;
  if (n == 1) {
    ranks.push_back(make_self_communicator());
    return ranks;
  }
  const auto group = std::make_shared<Group>(n, deadline);
  for (int r = 0; r < n; ++r) ranks.push_back(std::make_unique<ThreadCommunicator>(group, r));
  return ranks;
}

}  // namespace retain
