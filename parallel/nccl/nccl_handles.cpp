#include "parallel/nccl/nccl_handles.h"

#include <exception>
#include <string>
#include <thread>
#include <utility>

namespace retain {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::microseconds kPoll{50};

}  // namespace

void fail_nccl(const SourceLine& where, ncclResult_t result, ncclComm_t comm, const char* call) {
  const char* last = ncclGetLastError(comm);
  throw CommunicationError(concat(where, ": ", call, " failed: ", ncclGetErrorString(result),
                                  last && *last ? concat(" (", last, ")") : std::string(),
                                  "; NCCL_DEBUG=WARN in the environment makes NCCL say more"));
}

NcclGroup::NcclGroup(ncclComm_t comm, std::chrono::seconds deadline)
    : comm_(comm), deadline_(deadline), uncaught_(std::uncaught_exceptions()) {}

NcclGroup::NcclGroup(NcclGroup&& other) noexcept
    : comm_(std::exchange(other.comm_, nullptr)), deadline_(other.deadline_), uncaught_(other.uncaught_) {}

void NcclGroup::settle(ncclResult_t result, const char* call) {
  const auto until = Clock::now() + deadline_;
  while (result == ncclInProgress && comm_) {
    if (Clock::now() > until) {
      abort();
      throw CommunicationError(concat(RETAIN_HERE, ": ", call, " was not done after ", deadline_.count(),
                                      " s; is another rank dead or stuck?"));
    }
    const ncclResult_t asked = ncclCommGetAsyncError(comm_, &result);
    if (asked != ncclSuccess) result = asked;
    if (result == ncclInProgress) std::this_thread::sleep_for(kPoll);
  }
  if (result == ncclSuccess) return;
  try {
    fail_nccl(RETAIN_HERE, result, comm_, call);
  } catch (...) {
    abort();  // after the message has been read from the communicator
    throw;
  }
}

void NcclGroup::check_health() {
  ncclResult_t result = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_, &result);
  settle(asked == ncclSuccess ? result : asked, "a collective under way");
}

void NcclGroup::abort() noexcept {
  if (comm_) static_cast<void>(ncclCommAbort(std::exchange(comm_, nullptr)));
}

void NcclGroup::close() noexcept {
  if (!comm_) return;
  if (std::uncaught_exceptions() > uncaught_) return abort();
  ncclResult_t result = ncclCommFinalize(comm_);
  for (const auto until = Clock::now() + deadline_; result == ncclInProgress && Clock::now() < until;) {
    std::this_thread::sleep_for(kPoll);
    if (ncclCommGetAsyncError(comm_, &result) != ncclSuccess) break;
  }
  if (result != ncclSuccess) return abort();
  static_cast<void>(ncclCommDestroy(std::exchange(comm_, nullptr)));
}

}  // namespace retain
