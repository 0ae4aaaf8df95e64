#include "launch/serve/connection.h"

#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace retain {

namespace {

constexpr int64_t kLineBytes = 8192;
constexpr int64_t kHeadBytes = 32 << 10;
// The library reads this header with std::regex, which a long one makes run out of stack; answers here are whole.
constexpr const char* kRange = "Range:";
// What chunks and their lengths add to a body.
constexpr int64_t kBodyFrameBytes = 64 << 10;
// How long a client holds up the server's end, however it takes its answer, and how often is looked whether that has
// come.
constexpr std::chrono::seconds kLastWrites{2};
constexpr std::chrono::milliseconds kLook{100};

}  // namespace

Connection::Connection(int socket, const HttpLimits& limits, const std::atomic<bool>& stopped)
    : socket_(socket),
      limits_(limits),
      stopped_(stopped),
      deadline_(Clock::now() + limits.head),
      room_bytes_(kHeadBytes) {}

Connection::~Connection() {
  // A socket that is closed with bytes unread takes back what was written.
  ::shutdown(socket_, SHUT_WR);
  const auto until = Clock::now() + limits_.linger;
  while (wait(POLLIN, until) && ::recv(socket_, buffer_.data(), buffer_.size(), 0) > 0) continue;
  ::close(socket_);
}

void Connection::begin_body() {
  in_head_ = false;
  deadline_ = Clock::now() + limits_.body;
  room_bytes_ = 2 * limits_.body_bytes + kBodyFrameBytes;
}

bool Connection::client_is_gone() const {
  // Also one that only sends no more: a client that has closed looks the same until something is written to it.
  pollfd state{.fd = socket_, .events = POLLRDHUP, .revents = 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

bool Connection::wait(short events, Clock::time_point deadline) {
  for (;;) {
    const auto now = Clock::now();
    if (stopped_) {
      if (!last_writes_) last_writes_ = now + kLastWrites;
      if (now >= *last_writes_) return false;
      deadline = events == POLLIN ? now : std::min(deadline, *last_writes_);
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(std::min<Clock::duration>(deadline - now, kLook));
    pollfd state{.fd = socket_, .events = events, .revents = 0};
    const int ready = ::poll(&state, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
    if (Clock::now() >= deadline) return false;
  }
}

bool Connection::fill() {
  if (!wait(POLLIN, deadline_)) {
    refused_ = 408;
    return false;
  }
  const ssize_t got = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
  begin_ = 0;
  end_ = static_cast<size_t>(std::max<ssize_t>(got, 0));
  return got > 0;
}

bool Connection::next_line() {
  for (line_.clear(), line_read_ = 0;; ++begin_) {
    if (begin_ == end_ && !fill()) return false;
    line_ += buffer_[begin_];
    if (std::ssize(line_) > kLineBytes || --room_bytes_ < 0) {
      refused_ = 431;
      return false;
    }
    if (line_.back() != '\n') continue;
    if (!::strncasecmp(line_.c_str(), kRange, std::strlen(kRange))) {
      line_.clear();
      continue;
    }
    ++begin_;
    return true;
  }
}

ssize_t Connection::read(char* to, size_t size) {
  if (refused_ != 0) return -1;
  if (in_head_) {
    if (line_read_ == line_.size() && !next_line()) return -1;
    const size_t count = line_.copy(to, size, line_read_);
    line_read_ += count;
    return static_cast<ssize_t>(count);
  }
  if (begin_ == end_ && !fill()) return -1;
  const size_t count = std::min({size, end_ - begin_, static_cast<size_t>(room_bytes_)});
  if (count == 0) {
    refused_ = 413;
    return -1;
  }
  std::memcpy(to, &buffer_[begin_], count);
  begin_ += count;
  room_bytes_ -= static_cast<int64_t>(count);
  return static_cast<ssize_t>(count);
}

ssize_t Connection::write(const char* from, size_t size) {
  wrote_ = true;
  if (!wait(POLLOUT, Clock::now() + limits_.write)) return -1;
  const ssize_t sent = ::send(socket_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  return sent < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : sent;
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}

}  // namespace retain
