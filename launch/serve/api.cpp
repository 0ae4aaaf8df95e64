#include "launch/serve/api.h"

#include <memory>
#include <utility>

#include "launch/serve/completion.h"
#include "trainer/file.h"

namespace retain {

namespace {

using Clock = std::chrono::steady_clock;

// How often is looked whether a client that waits is still there.
constexpr std::chrono::milliseconds kLook{100};
// nginx's: the client has closed the connection before it was answered.
constexpr int kClientIsGone = 499;

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

HttpAnswer answer_of(const Json& json) { return {.body = dump(json) + "\n"}; }

HttpAnswer error_answer(int status, const std::string& message, const std::string& param = "") {
  HttpAnswer answer{.status = status, .body = dump(error_json(status, message, param)) + "\n"};
  if (status == 429 || status == 503) answer.headers["Retry-After"] = "1";
  return answer;
}

/// A completion that is under way, from its entry to its last byte.
class Job {
 public:
  Job(CompletionRequest request, const ServedModel& model, Service& service, ServeMetrics& metrics,
      const std::string& id, std::function<bool()> client_is_gone)
      : metrics_(metrics),
        request_(std::move(request)),
        client_is_gone_(std::move(client_is_gone)),
        format_(model, request_, id, unix_seconds()),
        completion_(request_, model, [this] { stay_.leave_place(); }),
        stay_(service, completion_.sequences()) {}
  ~Job() {
    if (stay_.entry() != Service::Entry::kTaken) return;
    const auto first = completion_.first_token();
    metrics_.completed(seconds(Clock::now()), first ? seconds(*first) : -1);
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  Service::Entry entry() const { return stay_.entry(); }
  bool streams() const { return request_.stream; }

  HttpAnswer whole() {
    while (!completion_.wait(kLook, false))
      if (client_is_gone_()) return error_answer(kClientIsGone, "the client is gone");
    if (const auto reason = completion_.failure()) return error_answer(503, *reason);
    return answer_of(format_.whole(completion_.take_news(), completion_.completion_tokens()));
  }

  /// Server-sent events; nothing behind the last one, or where nobody reads them.
  std::optional<std::string> next_events() {
    if (done_) return std::nullopt;
    std::string events;
    while (!done_ && events.empty()) {
      while (!completion_.wait(kLook, true))
        if (client_is_gone_()) return std::nullopt;
      done_ = completion_.ended();  // before the news are taken: the last ones are among them
      for (const ChoicePart& part : completion_.take_news()) events += event(format_.chunk(part));
    }
    if (!done_) return events;
    if (const auto reason = completion_.failure()) return events + event(error_json(503, *reason));
    if (request_.stream_usage) events += event(format_.last_chunk(completion_.completion_tokens()));
    return events + "data: [DONE]\n\n";
  }

 private:
  static std::string event(const Json& json) { return "data: " + dump(json) + "\n\n"; }
  double seconds(Clock::time_point until) const { return std::chrono::duration<double>(until - begun_).count(); }

  ServeMetrics& metrics_;
  const Clock::time_point begun_ = Clock::now();
  const CompletionRequest request_;
  std::function<bool()> client_is_gone_;
  CompletionFormat format_;
  Completion completion_;
  Service::Stay stay_;  ///< ends before what it has lent to the service
  bool done_ = false;
};

}  // namespace

Api::Api(const ServedModel& model, Service& service, ServeMetrics& metrics, int64_t slots, int64_t most_requests)
    : model_(model),
      service_(service),
      metrics_(metrics),
      slots_(slots),
      most_requests_(most_requests),
      created_(unix_seconds()) {}

HttpServer::Refusal Api::refusal(ServeMetrics& metrics) {
  return [&metrics](int status, const std::string& message) {
    metrics.answered("", status);
    return error_answer(status, message);
  };
}

void Api::add(HttpServer& server, const std::string& method, const std::string& path, HttpServer::Handler handler) {
  server.handle(method, path, [this, path, handler = std::move(handler)](const HttpRequest& http) {
    HttpAnswer answer;
    try {
      answer = handler(http);
    } catch (const ApiError& error) {
      answer = error_answer(error.status(), error.what(), error.param());
    }
    metrics_.answered(path, answer.status);
    return answer;
  });
}

void Api::add_to(HttpServer& server) {
  add(server, "POST", "/v1/completions", [this](const HttpRequest& http) { return complete(http); });
  add(server, "GET", "/v1/models", [this](const HttpRequest&) { return answer_of(models_json(model_, created_)); });
  add(server, "GET", "/health", [this](const HttpRequest&) { return health(); });
  add(server, "GET", "/metrics", [this](const HttpRequest&) {
    return HttpAnswer{.type = "text/plain; version=0.0.4",
                      .body = metrics_.text(service_.state(), slots_, most_requests_)};
  });
  add(server, "GET", "/tokenizer_info", [this](const HttpRequest&) { return answer_of(tokenizer_info(model_)); });
  add(server, "POST", "/tokenize", [this](const HttpRequest& http) {
    const MemoryRoom::Part room(reading_, std::ssize(http.body));
    return answer_of(tokenize(http.body, model_));
  });
  add(server, "POST", "/detokenize", [this](const HttpRequest& http) {
    const MemoryRoom::Part room(reading_, std::ssize(http.body));
    return answer_of(detokenize(http.body, model_));
  });
}

HttpAnswer Api::health() const {
  if (const auto failure = service_.failure()) return error_answer(503, failure->message);
  if (ending_) return error_answer(503, "the server ends");
  return answer_of({{"status", "ok"}});
}

HttpAnswer Api::complete(const HttpRequest& http) {
  const auto full = [this] {
    return error_answer(429, concat("this server has ", most_requests_, " requests, as many as it takes"));
  };
  if (service_.state().requests >= most_requests_) return full();  // before it is read
  CompletionRequest request = [&] {
    const MemoryRoom::Part room(reading_, std::ssize(http.body));
    return parse_completion(http.body, model_);
  }();
  // Shared, because a std::function wants to be copied.
  const auto job = std::make_shared<Job>(std::move(request), model_, service_, metrics_,
                                         concat("cmpl-", make_nonce(), "-", ++completions_), http.client_is_gone);
  switch (job->entry()) {
    case Service::Entry::kFull: return full();
    case Service::Entry::kEnding: return error_answer(503, "the server ends");
    case Service::Entry::kTaken: break;
  }
  if (!job->streams()) return job->whole();
  return {.type = "text/event-stream",
          .next_piece = [job] { return job->next_events(); },
          .headers = {{"Cache-Control", "no-cache"}}};
}

}  // namespace retain
