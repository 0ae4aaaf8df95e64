#include "parallel/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <string>
#include <vector>

#include "kernels/core/text.h"

namespace retain {
namespace {

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarn: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

struct Log::Sinks {
  int world_rank;
  std::string signature;  // of ranks other than 0
  spdlog::logger logger;
};

Log::Log(const LogOptions& options) {
  std::vector<spdlog::sink_ptr> sinks{std::make_shared<spdlog::sinks::stderr_sink_st>()};
  if (options.world_rank == 0 && !options.file.empty()) {
    try {
      sinks.push_back(std::make_shared<spdlog::sinks::basic_file_sink_st>(options.file));
    } catch (const spdlog::spdlog_ex& e) {
      throw Error(ErrorKind::kCannotCreate, concat("cannot open the log file ", options.file, ": ", e.what()));
    }
  }
  const std::string signature =
      options.world_rank == 0 ? "" : concat("rank ", options.world_rank, " host ", options.host, ": ");
  sinks_ = std::make_unique<Sinks>(
      Sinks{options.world_rank, signature, spdlog::logger("retain", sinks.begin(), sinks.end())});
  sinks_->logger.set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
  sinks_->logger.flush_on(spdlog::level::info);
}

Log::~Log() = default;

bool Log::speaks(LogLevel level) const { return level != LogLevel::kInfo || sinks_->world_rank == 0; }

void Log::write(LogLevel level, const std::string& text) {
  const std::string line = escape_lines(sinks_->signature + text);
  sinks_->logger.log(level_of(level), spdlog::string_view_t(line));
}

}  // namespace retain
