// One connection of a client as cpp-httplib reads and writes it: with a deadline for each part of a request and a bound
// for its bytes, which the library has not. Private to http_server.cpp.
#pragma once

#include <httplib.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "launch/serve/http_server.h"

namespace retain {

class Connection : public httplib::Stream {
 public:
  /// Takes the socket over. Once `stopped`, nothing more is waited for but that the client takes its answer, briefly.
  Connection(int socket, const HttpLimits& limits, const std::atomic<bool>& stopped);
  /// Lets the client read what was written before the socket is closed.
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// The headers are read: the limits of the body hold from here on.
  void begin_body();
  /// A line or all headers were longer than is taken, or came too slowly: what was read is no request.
  int refused_status() const { return refused_; }
  bool wrote_something() const { return wrote_; }
  bool client_is_gone() const;

  bool is_readable() const override { return true; }
  bool is_writable() const override { return !client_is_gone(); }
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  /// Asked for only to be compared with what select() takes, and nothing here selects.
  socket_t socket() const override { return 0; }

 private:
  using Clock = std::chrono::steady_clock;

  /// Waits for the socket until the deadline.
  bool wait(short events, Clock::time_point deadline);
  bool fill();
  /// The head's next line that the library is to see.
  bool next_line();

  int socket_;
  const HttpLimits& limits_;
  const std::atomic<bool>& stopped_;
  Clock::time_point deadline_;
  std::optional<Clock::time_point> last_writes_;  ///< once stopped: for all that is left to be written
  int64_t room_bytes_;                            ///< that may still be read of this part of the request
  std::string line_;                              ///< of the head
  size_t line_read_ = 0;                          ///< of it
  bool in_head_ = true, wrote_ = false;
  int refused_ = 0;
  std::array<char, 16384> buffer_{};
  size_t begin_ = 0, end_ = 0;  ///< of what the buffer holds
};

}  // namespace retain
