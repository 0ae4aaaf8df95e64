// For parallel/nccl only: checks of NCCL's results, and the owner of its handle.
#pragma once

#include <nccl.h>

#include <chrono>
#include <mutex>

#include "kernels/core/activity.h"
#include "parallel/communicator.h"

#if NCCL_VERSION_CODE < NCCL_VERSION(2, 18, 0)
#error "Retain needs NCCL 2.18 or newer"
#endif

namespace retain {

/// Throws CommunicationError with the call's text, NCCL's message, and its last error on that communicator (null: any).
[[noreturn]] void fail_nccl(const SourceLine& where, ncclResult_t result, ncclComm_t comm, const char* call);

#define NCCL_CHECK(comm, call)                                                                              \
  do {                                                                                                      \
    const ncclResult_t nccl_check_result = (call);                                                          \
    if (nccl_check_result != ncclSuccess) ::retain::fail_nccl(RETAIN_HERE, nccl_check_result, comm, #call); \
  } while (false)

/// Owns a non-blocking ncclComm_t. NCCL's calls on such a communicator may return ncclInProgress; settle() waits until
/// the communicator is ready again, polling its asynchronous error, at most until the deadline. On failure, and when
/// destroyed by an exception, the communicator is aborted: its collectives end, whatever the other ranks do.
class NcclGroup {
 public:
  /// Takes over what a creating call returned through its pointer, null included. `activity`, if that is given, is told
  /// of waits.
  NcclGroup(ncclComm_t comm, std::chrono::seconds deadline, Activity* activity = nullptr);
  NcclGroup(NcclGroup&& other) noexcept;
  NcclGroup& operator=(NcclGroup&&) = delete;
  ~NcclGroup() { close(); }

  /// Null once it is aborted.
  ncclComm_t get() const;
  std::chrono::seconds deadline() const { return deadline_; }
  /// Throws CommunicationError, after aborting, unless `result` is or becomes success.
  void settle(ncclResult_t result, const char* call);
  /// Throws CommunicationError, after aborting, when a collective under way has failed, or when it is aborted. Any
  /// thread; does not wait.
  void check_health();
  /// Ends everything under way on this rank. Any thread.
  void abort() noexcept;
  /// Destroys, or aborts while an exception unwinds.
  void close() noexcept;

 private:
  /// What has become of the communicator's last call; ncclInvalidUsage once it is aborted.
  ncclResult_t ask() const;
  [[noreturn]] void fail(ncclResult_t result, const char* call);

  mutable std::mutex mutex_;  // a communicator is not asked while another thread aborts it
  ncclComm_t comm_;
  std::chrono::seconds deadline_;
  Activity* activity_;
  int uncaught_;
};

}  // namespace retain
