#include "kernels/core/error.h"
#include "launch/serve/http_server.h"

namespace retain {

class HttpServer::Impl {};

HttpServer::HttpServer(const HttpLimits&, const Refusal&) {
  throw Error(ErrorKind::kUsage,
              "this build of retain has no HTTP library: install cpp-httplib 0.11 to 0.17 (Debian's and Ubuntu's "
              "libcpp-httplib-dev) and pkg-config, and build again");
}
HttpServer::~HttpServer() = default;
void HttpServer::handle(const std::string&, const std::string&, const Handler&) {}
int HttpServer::bind(const std::string&, int) { return 0; }
void HttpServer::run() {}
void HttpServer::stop() {}

}  // namespace retain
