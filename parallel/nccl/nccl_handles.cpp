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

NcclGroup::NcclGroup(ncclComm_t comm, std::chrono::seconds deadline, Activity* activity)
    : comm_(comm), deadline_(deadline), activity_(activity), uncaught_(std::uncaught_exceptions()) {}

NcclGroup::NcclGroup(NcclGroup&& other) noexcept
    : comm_(std::exchange(other.comm_, nullptr)),
      deadline_(other.deadline_),
      activity_(other.activity_),
      uncaught_(other.uncaught_) {}

ncclComm_t NcclGroup::get() const {
  const std::lock_guard lock(mutex_);
  return comm_;
}

ncclResult_t NcclGroup::ask() const {
  const std::lock_guard lock(mutex_);
  if (!comm_) return ncclInvalidUsage;
  ncclResult_t result = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_, &result);
  return asked == ncclSuccess ? result : asked;
}

void NcclGroup::fail(ncclResult_t result, const char* call) {
  if (!get()) throw CommunicationError(concat(call, " on a communicator that was aborted"));
  try {
    fail_nccl(RETAIN_HERE, result, get(), call);
  } catch (...) {
    abort();  // after the message has been read from the communicator
    throw;
  }
}

void NcclGroup::settle(ncclResult_t result, const char* call) {
  if (result == ncclSuccess) return;
  Activity unseen;
  const auto until = Clock::now() + deadline_;
  (activity_ ? *activity_ : unseen).wait(WaitsFor::kRanks, call, [&] {
    if (result == ncclInProgress) result = ask();
    if (result != ncclInProgress) return true;
    if (Clock::now() < until) return false;
    abort();
    throw CommunicationError(concat(RETAIN_HERE, ": ", call, " was not done after ", deadline_.count(),
                                    " s; is another rank dead or stuck?"));
  });
  if (result != ncclSuccess) fail(result, call);
}

void NcclGroup::check_health() {
  const ncclResult_t result = ask();
  if (result != ncclSuccess && result != ncclInProgress) fail(result, "a collective under way");
}

void NcclGroup::abort() noexcept {
  const std::lock_guard lock(mutex_);
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
