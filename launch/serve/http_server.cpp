#include "launch/serve/http_server.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <list>
#include <string_view>
#include <thread>
#include <utility>

#include "kernels/core/error.h"
#include "launch/serve/connection.h"
#include "parallel/agreement.h"

namespace retain {

namespace {

// Clients that may wait to be taken; the library asks the kernel for five.
constexpr int kBacklog = 4096;
// Has no chunks.
constexpr const char* kOldHttp = "HTTP/1.0";

/// A body, and what it takes of the memory that all bodies have together.
class Body {
 public:
  Body(int64_t most, std::atomic<int64_t>& all, int64_t most_of_all)
      : most_(most), all_(all), most_of_all_(most_of_all) {}
  ~Body() { all_ -= std::ssize(text_); }
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;

  /// The status that refuses more than is taken, or 0.
  int append(const char* data, size_t size) {
    const auto bytes = static_cast<int64_t>(size);
    if (std::ssize(text_) + bytes > most_) return 413;
    if (all_ + bytes > most_of_all_) return 503;
    all_ += bytes;
    text_.append(data, size);
    return 0;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  int64_t most_;
  std::atomic<int64_t>& all_;
  int64_t most_of_all_;
};

/// What the library asks while it is at a request.
struct Progress {
  const Connection* connection;
  bool operator()(uint64_t, uint64_t) const { return !connection->client_is_gone(); }
};

/// Why the connection of the request read no more, or this where nothing was said about it.
int refused_status(const httplib::Request& request, int otherwise) {
  const int status = request.progress.target<Progress>()->connection->refused_status();
  return status != 0 ? status : otherwise;
}

/// Reads the body of a POST; the status that refuses it, or 0.
int read_body(const httplib::Request& request, const httplib::ContentReader& reader, int64_t most, Body& body) {
  if (request.is_multipart_form_data()) return 415;
  const std::string length = request.get_header_value("Content-Length");
  if (length.find_first_not_of("0123456789") != std::string::npos || length.size() > 18) return 400;
  if (!length.empty() && std::stoll(length) > most) return 413;
  if (length.empty() && request.get_header_value("Transfer-Encoding") != "chunked") return 411;
  int refused = 0;
  const bool whole = reader([&](const char* data, size_t size) {  // also of one that was compressed
    refused = body.append(data, size);
    return refused == 0;
  });
  if (refused != 0) return refused;
  return whole ? 0 : refused_status(request, 400);
}

const char* describe(int status) {
  switch (status) {
    case 400: return "this is no HTTP request";
    case 404: return "there is nothing at this path";
    case 405: return "this path takes another method";
    case 408: return "the request did not come in time";
    case 411: return "a request needs a Content-Length";
    case 413: return "the request is larger than this server takes";
    case 414: return "the path is longer than this server takes";
    case 415: return "a request is to be JSON";
    case 431: return "the headers are longer than this server takes";
    case 503: return "this server has no room for the request now";
    default: return "the request cannot be answered";
  }
}

/// Throws where the host has no address.
void check_host(const std::string& host) {
  if (host.empty()) throw Error(ErrorKind::kUsage, "the host is empty: give 127.0.0.1, or 0.0.0.0 for every address");
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), nullptr, nullptr, &found);
  if (error != 0) throw Error(ErrorKind::kCannotCreate, concat("cannot listen on ", host, ": ", ::gai_strerror(error)));
  ::freeaddrinfo(found);
}

void put(httplib::Response& to, HttpAnswer answer, bool knows_chunks = true) {
  to.status = answer.status;
  for (const auto& [name, value] : answer.headers) to.set_header(name, value);
  if (!answer.next_piece) {
    to.set_content(answer.body, answer.type);
    return;
  }
  const auto next = [pieces = std::move(answer.next_piece)](size_t, httplib::DataSink& sink) {
    const std::optional<std::string> piece = pieces();
    if (piece) return sink.write(piece->data(), piece->size());
    sink.done();
    return true;
  };
  if (knows_chunks) {
    to.set_chunked_content_provider(answer.type, next);
  } else {
    to.set_content_provider(answer.type, next);  // ends with the connection
  }
}

}  // namespace

class HttpServer::Impl : public httplib::Server {
 public:
  Impl(const HttpLimits& limits, Refusal refusal)
      : limits_(limits), refusal_(std::move(refusal)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      const auto path = methods_.find(request.path);
      const bool known =
          path != methods_.end() && (request.method == path->second || is_head_of(request, path->second));
      if (known) return HandlerResponse::Unhandled;
      refuse(response, path == methods_.end() ? 404 : 405);
      return HandlerResponse::Handled;
    });
    set_error_handler([this](const httplib::Request&, httplib::Response& response) {
      if (response.body.empty() && !response.content_provider_) refuse(response, response.status);
    });
    set_exception_handler([this](const httplib::Request&, httplib::Response& response, std::exception_ptr error) {
      const Outcome outcome = attempt([&] { std::rethrow_exception(std::move(error)); });
      put(response, refusal_(500, outcome.message));
    });
    // The library's own would let two servers share a port.
    set_socket_options([](socket_t socket) {
      const int yes = 1;
      ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    });
    set_tcp_nodelay(true);
  }

  ~Impl() override {
    if (svr_sock_ != INVALID_SOCKET) ::close(svr_sock_);
    ::close(wake_);
  }

  void add(const std::string& method, const std::string& path, const HttpServer::Handler& handler) {
    methods_[path] = method;
    const auto answer = [handler](const httplib::Request& request, const std::string& body) {
      // Copied, as is what it asks: an answer in pieces outlives this call.
      return handler({.body = body, .client_is_gone = [progress = request.progress] { return !progress(0, 0); }});
    };
    if (method == "GET") {
      Get(path, [answer](const httplib::Request& request, httplib::Response& response) {
        put(response, answer(request, ""), request.version != kOldHttp);
      });
      return;
    }
    Post(path, [this, answer](const httplib::Request& request, httplib::Response& response,
                              const httplib::ContentReader& reader) {
      Body body(limits_.body_bytes, bodies_bytes_, limits_.bodies_bytes);
      const int refused = read_body(request, reader, limits_.body_bytes, body);
      if (refused != 0) return refuse(response, refused);
      put(response, answer(request, body.text()), request.version != kOldHttp);
    });
  }

  int bind(const std::string& host, int port) {
    check_host(host);
    errno = 0;
    const int bound = port > 0 ? (bind_to_port(host, port) ? port : -1) : bind_to_any_port(host);
    if (bound < 0 || ::listen(svr_sock_, kBacklog) != 0)
      throw Error(ErrorKind::kCannotCreate, concat("cannot listen on ", host, ":", port, ": ",
                                                   std::strerror(errno != 0 ? errno : EADDRNOTAVAIL)));
    ::fcntl(svr_sock_, F_SETFL, ::fcntl(svr_sock_, F_GETFL) | O_NONBLOCK);
    ::fcntl(svr_sock_, F_SETFD, FD_CLOEXEC);
    return bound;
  }

  void run() {
    while (!stopped_) {
      reap();
      const bool room = static_cast<int64_t>(threads_.size()) < limits_.connections;
      std::array<pollfd, 2> events{pollfd{.fd = wake_, .events = POLLIN, .revents = 0},
                                   pollfd{.fd = svr_sock_, .events = POLLIN, .revents = 0}};
      if (::poll(events.data(), room ? 2 : 1, -1) < 0) continue;
      uint64_t woken = 0;
      static_cast<void>(!::read(wake_, &woken, sizeof(woken)));
      if (room && events[1].revents != 0) take_one();
    }
    for (Thread& one : threads_) one.thread.join();
    threads_.clear();
  }

  void stop() {
    stopped_ = true;
    wake();
  }

 private:
  struct Thread {
    std::thread thread;
    std::atomic<bool> done = false;
  };

  static bool is_head_of(const httplib::Request& request, const std::string& method) {
    return request.method == "HEAD" && method == "GET";
  }
  void refuse(httplib::Response& response, int status) const { put(response, refusal_(status, describe(status))); }

  void wake() const {
    const uint64_t one = 1;
    static_cast<void>(!::write(wake_, &one, sizeof(one)));
  }

  void reap() {
    threads_.remove_if([](Thread& one) {
      if (!one.done) return false;
      one.thread.join();
      return true;
    });
  }

  void take_one() {
    const int socket = ::accept4(svr_sock_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) {
      // No descriptor is left, or no memory: until one of the connections ends.
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return;
    }
    Thread& one = threads_.emplace_back();
    const Outcome started = attempt([&] {
      one.thread = std::thread([this, &one, socket] {
        attempt([&] { answer(socket); });
        one.done = true;
        wake();
      });
    });
    if (started.ok) return;
    ::close(socket);
    threads_.pop_back();
  }

  void answer(int socket) {
    Connection connection(socket, limits_, stopped_);
    bool closed = false;
    process_request(connection, true, closed, [&](httplib::Request& request) {
      connection.begin_body();
      request.progress = Progress{&connection};
    });
    if (!connection.wrote_something() && connection.refused_status() != 0) say(connection, connection.refused_status());
  }

  /// An answer to what is no request for the library.
  void say(Connection& connection, int status) const {
    const HttpAnswer answer = refusal_(status, describe(status));
    const std::string text = concat("HTTP/1.1 ", status, " Refused\r\nConnection: close\r\nContent-Type: ", answer.type,
                                    "\r\nContent-Length: ", answer.body.size(), "\r\n\r\n", answer.body);
    connection.write(text.data(), text.size());
  }

  HttpLimits limits_;
  Refusal refusal_;
  std::map<std::string, std::string> methods_;  ///< of each path
  int wake_;
  std::atomic<bool> stopped_ = false;
  std::atomic<int64_t> bodies_bytes_ = 0;
  std::list<Thread> threads_;
};

HttpServer::HttpServer(const HttpLimits& limits, const Refusal& refusal)
    : impl_(std::make_unique<Impl>(limits, refusal)) {}
HttpServer::~HttpServer() = default;
void HttpServer::handle(const std::string& method, const std::string& path, const Handler& handler) {
  impl_->add(method, path, handler);
}
int HttpServer::bind(const std::string& host, int port) { return impl_->bind(host, port); }
void HttpServer::run() { impl_->run(); }
void HttpServer::stop() { impl_->stop(); }

}  // namespace retain
