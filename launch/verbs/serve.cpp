// retain serve: completions over HTTP.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <thread>

#include "launch/serve/api.h"
#include "launch/signals.h"
#include "launch/verbs/trained_model.h"
#include "launch/verbs/verbs.h"

namespace retain {

namespace {

constexpr std::chrono::milliseconds kLook{50};  // at signals

/// A descriptor a connection, as far as this process may have them; returns the connections that there may be.
int64_t allow_connections(int64_t wanted) {
  constexpr int64_t kOthers = 64;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  const auto needed = static_cast<rlim_t>(wanted + kOthers);
  if (limit.rlim_cur < needed) {
    limit.rlim_cur = std::min(needed, limit.rlim_max);
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  const int64_t allowed = std::max<int64_t>(static_cast<int64_t>(limit.rlim_cur) - kOthers, 1);
  constexpr int64_t kFewest = 8;
  if (allowed < std::min(wanted, kFewest))
    throw Error(ErrorKind::kUsage, concat("ulimit -n is ", limit.rlim_cur, ", which leaves ", allowed,
                                          " connections: raise it to ", kOthers + wanted));
  if (allowed < wanted)
    std::cerr << concat("retain: ", allowed, " connections instead of ", wanted, ": ulimit -n is ", limit.rlim_cur,
                        "\n");
  return std::min(wanted, allowed);
}

std::string in_url(const std::string& host) {
  return host.find(':') == std::string::npos ? host : concat("[", host, "]");
}

std::string name_of(const std::string& checkpoint) {
  const Path path = Path(checkpoint).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

/// Waits for the requests that are there, while that is allowed; whether all have left.
bool drain(Service& service, std::chrono::seconds limit, SignalWishes& signals) {
  const auto tokens = [&] {
    const Engine::Counts counts = service.state().counts;
    return counts.prompt_tokens + counts.drawn_tokens;
  };
  const auto begun = std::chrono::steady_clock::now();
  for (int64_t done = tokens(); !service.wait_until_empty(kLook);) {
    if (service.failure() || std::chrono::steady_clock::now() - begun >= limit) return false;
    if (done == tokens()) continue;
    done = tokens();
    signals.progressed();
  }
  return true;
}

/// The server on a thread of its own, which ends with this object.
class Serving {
 public:
  explicit Serving(HttpServer& server) : server_(server), thread_([&server] { server.run(); }) {}
  ~Serving() {
    server_.stop();
    thread_.join();
  }
  Serving(const Serving&) = delete;
  Serving& operator=(const Serving&) = delete;

 private:
  HttpServer& server_;
  std::thread thread_;
};

}  // namespace

int serve(const ServeOptions& options, SignalWishes& signals) {
  ServeMetrics metrics;
  HttpServer server({.connections = allow_connections(options.connections), .body_bytes = options.max_body_bytes},
                    Api::refusal(metrics));
  const int port = server.bind(options.host, options.port);
  const TrainedModel trained = load_trained_model(options.checkpoint);
  Decoder decoder(*trained.backend, *trained.parameters, trained.config.model, trained.target.compute, options.slots);
  Engine engine(decoder, drawable_tokens(decoder.vocab_size(), *trained.tokenizer, trained.end_token),
                trained.end_token);
  const ServedModel model{.name = name_of(options.checkpoint),
                          .tokenizer = *trained.tokenizer,
                          .vocab_size = decoder.vocab_size(),
                          .end_token = trained.end_token,
                          .most_tokens = options.max_tokens};
  const int64_t most_requests = options.slots + options.queue;
  Service service(engine, most_requests);
  Api api(model, service, metrics, options.slots, most_requests);
  api.add_to(server);

  signals.take_up("no more requests are taken, and those under way are finished");
  {
    const Serving serving(server);
    std::cout << concat("http://", in_url(options.host), ":", port, "\n") << std::flush;
    while (!signals.stop_requested() && !service.failure()) {
      std::this_thread::sleep_for(kLook);
      signals.progressed();
    }
    api.begin_ending();
    service.refuse_more();
    if (!drain(service, std::chrono::seconds(options.drain_seconds), signals) && !service.failure())
      service.end_all("the server ends");
  }
  if (const auto failure = service.failure(); failure && !signals.stop_requested()) failure->throw_if_failed();
  std::cerr << "retain: the server has ended\n";
  return 0;
}

}  // namespace retain
