// A small HTTP server over cpp-httplib, which alone http_server.cpp sees; a build without it has no_http_server.cpp.
// The library reads requests and writes answers; sockets, threads and every limit are ours: a thread a connection, a
// request a connection (so that nothing that a broken one leaves is taken for another), and a deadline for each part.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace retain {

struct HttpRequest {
  const std::string& body;
  std::function<bool()> client_is_gone;  ///< may be asked at any time
};

struct HttpAnswer {
  int status = 200;
  std::string type = "application/json";
  std::string body = {};
  /// Given: the body comes in pieces, as they are made; nothing: it was the last one.
  std::function<std::optional<std::string>()> next_piece = nullptr;
  std::map<std::string, std::string> headers = {};
};

struct HttpLimits {
  int64_t connections = 1024;  ///< more wait until one of these ends
  int64_t body_bytes = 16 << 20;
  int64_t bodies_bytes = 512 << 20;         ///< of all requests that are there
  std::chrono::milliseconds head{10'000};   ///< for the line and the headers of a request, all together
  std::chrono::milliseconds body{60'000};   ///< for its body, all of it
  std::chrono::milliseconds write{30'000};  ///< in which a client takes something of its answer
  std::chrono::milliseconds linger{2'000};  ///< for it to take the rest, where it was still sending
};

class HttpServer {
 public:
  using Handler = std::function<HttpAnswer(const HttpRequest&)>;
  /// What a request that reaches no handler is answered with.
  using Refusal = std::function<HttpAnswer(int status, const std::string& message)>;

  /// Throws Error(kUsage) where this build has no library for it.
  HttpServer(const HttpLimits& limits, const Refusal& refusal);
  ~HttpServer();

  /// Before run(). GET or POST; a handler is called on many threads at once. What it throws is a 500.
  void handle(const std::string& method, const std::string& path, const Handler& handler);
  /// Returns the port; 0 asks for one that is free. Throws Error(kCannotCreate), Error(kUsage) without a host.
  int bind(const std::string& host, int port);
  /// Takes connections until stop(), and returns when the last one has ended.
  void run();
  /// From any thread: no connection is taken any more.
  void stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace retain
