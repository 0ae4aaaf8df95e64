// What a server over HTTP does with requests of all kinds, over sockets.
#include "launch/serve/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/core/error.h"
#include "parallel/agreement.h"

namespace retain {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLimit{300};

/// A connection of a client.
class Client {
 public:
  explicit Client(int port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  }
  ~Client() { ::close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool send(const std::string& text) const {
    return ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) == std::ssize(text);
  }
  void send_no_more() const { ::shutdown(socket_, SHUT_WR); }
  /// Bytes that were read, of those that came.
  ssize_t some() const {
    std::array<char, 4096> piece{};
    return ::recv(socket_, piece.data(), piece.size(), 0);
  }
  std::string rest() const {
    std::string all;
    std::array<char, 4096> piece{};
    for (ssize_t got = 0; (got = ::recv(socket_, piece.data(), piece.size(), 0)) > 0;)
      all.append(piece.data(), static_cast<size_t>(got));
    return all;
  }

 private:
  int socket_;
};

class HttpServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Outcome made = attempt([&] {
      server_ = std::make_unique<HttpServer>(
          HttpLimits{
              .connections = 4, .body_bytes = 2000, .head = kLimit, .body = kLimit, .write = kLimit, .linger = kLimit},
          [](int status, const std::string& message) {
            return HttpAnswer{.status = status, .body = "refused: " + message};
          });
    });
    if (!made.ok) GTEST_SKIP() << made.message;
    server_->handle("POST", "/echo", [](const HttpRequest& request) { return HttpAnswer{.body = request.body}; });
    server_->handle("POST", "/throw", [](const HttpRequest&) -> HttpAnswer { throw Error(ErrorKind::kData, "oh"); });
    server_->handle("GET", "/endless", [](const HttpRequest&) {
      return HttpAnswer{.next_piece = [] { return std::optional(std::string(1 << 16, 'x')); }};
    });
    server_->handle("GET", "/count", [this](const HttpRequest& request) { return count(request); });
    server_->handle("POST", "/wait", [this](const HttpRequest& request) {
      ++waiting_;
      while (!request.client_is_gone() && !over_) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      --waiting_;
      return HttpAnswer{.body = "done"};
    });
    port_ = server_->bind("127.0.0.1", 0);
    thread_ = std::thread([this] { server_->run(); });
  }
  void TearDown() override {
    over_ = true;
    if (!thread_.joinable()) return;
    server_->stop();
    thread_.join();
  }

  /// Events one, two, three.
  static HttpAnswer count(const HttpRequest&) {
    const auto next = [i = 0]() mutable -> std::optional<std::string> {
      if (++i > 3) return std::nullopt;
      return std::string("data: ") + std::to_string(i) + "\n\n";
    };
    return {.type = "text/event-stream", .next_piece = next};
  }

  std::string exchange(const std::string& request) const {
    const Client client(port_);
    client.send(request);
    client.send_no_more();
    return client.rest();
  }
  static std::string post(const std::string& path, const std::string& body, const std::string& more = "") {
    return "POST " + path + " HTTP/1.1\r\nHost: a\r\n" + more + "Content-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
  }
  void wait_for(int64_t waiting) const {
    for (int i = 0; i < 1000 && waiting_ != waiting; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(waiting_, waiting);
  }

  std::unique_ptr<HttpServer> server_;
  int port_ = 0;
  std::thread thread_;
  std::atomic<int64_t> waiting_ = 0;
  std::atomic<bool> over_ = false;
};

TEST_F(HttpServerTest, AnswersWholeInPiecesAndWithErrors) {
  const std::string answer = exchange(post("/echo", "a body"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\na body"));
  EXPECT_THAT(answer, HasSubstr("Connection: close"));
  EXPECT_THAT(exchange("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
              HasSubstr("\r\n\r\nabcde"));
  EXPECT_THAT(exchange("GET /count HTTP/1.1\r\n\r\n"), HasSubstr("data: 1\n\n\r\n9\r\ndata: 2\n\n\r\n9\r\ndata: 3"));
  EXPECT_THAT(exchange("GET /count HTTP/1.0\r\n\r\n"),
              AllOf(HasSubstr("\r\n\r\ndata: 1\n\ndata: 2\n\ndata: 3\n\n"), Not(HasSubstr("chunked"))));
  EXPECT_THAT(exchange("HEAD /count HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(exchange(post("/throw", "")), HasSubstr("refused: oh"));
}

TEST_F(HttpServerTest, RefusesWhatIsNoRequestForItAndSaysWhy) {
  const auto refused = [&](int status, const std::string& request) {
    EXPECT_THAT(exchange(request), StartsWith("HTTP/1.1 " + std::to_string(status))) << request.substr(0, 80);
  };
  refused(404, "GET /nowhere HTTP/1.1\r\n\r\n");
  refused(404, post("/nowhere", std::string(9000, 'x')));
  refused(405, "GET /echo HTTP/1.1\r\n\r\n");
  refused(405, "DELETE /count HTTP/1.1\r\n\r\n");
  refused(400, "nonsense\r\n\r\n");
  refused(411, "POST /echo HTTP/1.1\r\n\r\n");
  refused(400, "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n");
  refused(400, "POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort");
  refused(413, post("/echo", std::string(2001, 'x')));
  refused(413, "POST /echo HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n");
  refused(413, "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + std::string(4095, 'x') +
                   "\r\n0\r\n\r\n");
  refused(415, post("/echo", "--x--", "Content-Type: multipart/form-data; boundary=x\r\n"));
  refused(431, "GET /count" + std::string(9000, 'x'));
  EXPECT_THAT(exchange(post("/echo", std::string(2001, 'x'))), HasSubstr("refused: the request is larger"));
  EXPECT_THAT(exchange(post("/echo", std::string(2000, 'x'))), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, AnAnswerIsWholeWhateverRangeIsAskedFor) {
  std::string ranges = "Range: bytes=0-1";
  EXPECT_THAT(exchange(post("/echo", "a body", ranges + "\r\n")), HasSubstr("\r\n\r\na body"));
  while (ranges.size() < 8000) ranges += ",0-1";
  EXPECT_THAT(exchange(post("/echo", "a body", ranges + "\r\n")), HasSubstr("\r\n\r\na body"));
  EXPECT_THAT(exchange(post("/echo", "a body", "Range: bytes=99-\r\n")), HasSubstr("\r\n\r\na body"));
}

TEST_F(HttpServerTest, WaitsForNoHeadAndNoBodyLongerThanItsLimits) {
  std::string cut = post("/echo", "abc");
  cut.pop_back();
  for (const std::string& begun : {std::string("GET /cou"), cut}) {
    const Client client(port_);
    const auto before = Clock::now();
    client.send(begun);
    client.rest();  // until the server has closed
    EXPECT_LT(Clock::now() - before, std::chrono::seconds(20)) << begun;
  }
  {
    const Client slow(port_);
    slow.send(cut);
    EXPECT_THAT(slow.rest(), StartsWith("HTTP/1.1 408"));
  }
  // One that keeps sending is not waited for either.
  const Client client(port_);
  const auto before = Clock::now();
  client.send("GET /count HTTP/1.1\r\n");
  while (Clock::now() - before < std::chrono::seconds(20) && client.send("X: y\r\n"))
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_LT(Clock::now() - before, std::chrono::seconds(20));
}

TEST_F(HttpServerTest, HearsOfClientsThatGoAway) {
  {
    const Client one(port_), two(port_);
    for (const Client* client : {&one, &two}) client->send(post("/wait", "x"));
    wait_for(2);
  }
  wait_for(0);
}

TEST_F(HttpServerTest, MoreConnectionsWaitForTheirTurn) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 7; ++i) {
    clients.push_back(std::make_unique<Client>(port_));
    clients.back()->send(post("/wait", "x"));
  }
  wait_for(4);
  over_ = true;
  for (const auto& client : clients) EXPECT_THAT(client->rest(), HasSubstr("done"));
}

TEST_F(HttpServerTest, EndsWhileAClientReadsAnAnswerThatIsLong) {
  const Client client(port_);
  client.send("GET /endless HTTP/1.1\r\n\r\n");
  EXPECT_GT(client.some(), 0);
  const auto before = Clock::now();
  server_->stop();
  while (client.some() > 0 && Clock::now() - before < std::chrono::seconds(20)) continue;
  EXPECT_LT(Clock::now() - before, std::chrono::seconds(20));
}

TEST_F(HttpServerTest, EndsWhileClientsAreSilentAndRefusesATakenPort) {
  const Client silent(port_);
  HttpServer other({}, [](int, const std::string&) { return HttpAnswer(); });
  EXPECT_THROW(other.bind("127.0.0.1", port_), Error);
  EXPECT_THROW(other.bind("no.such.host.invalid", 0), Error);
  EXPECT_THROW(other.bind("", 0), Error);
  server_->stop();
  thread_.join();
}

}  // namespace
}  // namespace retain
