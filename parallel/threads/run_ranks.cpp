#include "parallel/threads/run_ranks.h"

#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "parallel/threads/thread_communicator.h"

namespace retain {

void run_ranks(int n, const RankBody& body, std::chrono::milliseconds deadline) {
  std::mutex mutex;
  ErrorKind kind = ErrorKind::kInternal;
  std::string messages;  // in the order of the throws, so that the cause comes first
  const auto record = [&](int rank, ErrorKind what, const char* message) {
    const std::lock_guard lock(mutex);
    if (messages.empty()) kind = what;
    messages += concat(messages.empty() ? "" : "\n", "rank ", rank, ": ", message);
  };
  const auto run = [&](int rank, std::unique_ptr<Communicator> communicator) {
    try {
      const std::unique_ptr<Communicator> own = std::move(communicator);  // unwinding tells the other ranks
      try {
        body(*own);
      } catch (const Error& e) {
        record(rank, e.kind(), e.what());
        throw;
      } catch (const std::exception& e) {
        record(rank, ErrorKind::kInternal, e.what());
        throw;
      }
    } catch (const std::exception&) {
      return;  // recorded above
    }
  };
  {
    std::vector<std::unique_ptr<Communicator>> communicators = make_thread_communicators(n, deadline);
    std::vector<std::jthread> threads;
    for (int r = 0; r < n; ++r) threads.emplace_back(run, r, std::move(communicators[static_cast<std::size_t>(r)]));
  }
  if (!messages.empty()) throw Error(kind, messages);
}

}  // namespace retain
