// The paths of the server and what each answers.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "launch/serve/completions.h"
#include "launch/serve/http_server.h"
#include "launch/serve/memory_room.h"
#include "launch/serve/metrics.h"
#include "launch/serve/service.h"

namespace retain {

class Api {
 public:
  /// All of it outlives this.
  Api(const ServedModel& model, Service& service, ServeMetrics& metrics, int64_t slots, int64_t most_requests);

  /// Every path, with what comes of it counted.
  void add_to(HttpServer& server);
  /// What a request that is none for a path is answered with.
  static HttpServer::Refusal refusal(ServeMetrics& metrics);
  /// /health says from now on that the server ends.
  void begin_ending() { ending_ = true; }

 private:
  void add(HttpServer& server, const std::string& method, const std::string& path, HttpServer::Handler handler);
  HttpAnswer complete(const HttpRequest& http);
  HttpAnswer health() const;

  const ServedModel& model_;
  Service& service_;
  ServeMetrics& metrics_;
  const int64_t slots_, most_requests_;
  const int64_t created_;  ///< Unix seconds
  // Of bodies that are read at once: their JSON and tokens take about 40 times as much.
  MemoryRoom reading_{int64_t{8} << 20};
  std::atomic<int64_t> completions_ = 0;
  std::atomic<bool> ending_ = false;
};

}  // namespace retain
