// The life of MPI in this process, and where this rank stands. One object, made first and destroyed last by main.
// While an exception unwinds, MPI is not finalized: MPI_Finalize waits for all ranks, and the others would wait in turn
// for this one. main then calls abort(), and the launcher ends them.
#pragma once

#include <chrono>
#include <string>

namespace retain {

class MpiEnvironment {
 public:
  /// Initialises MPI (one thread calls it). Throws Error(kDevice).
  MpiEnvironment();
  ~MpiEnvironment();
  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;

  /// Counted machine by machine, in the order of their first ranks, wherever the launcher put its ranks.
  int world_rank() const { return world_rank_; }
  int world_size() const { return world_size_; }
  int local_rank() const { return local_rank_; }  ///< among the ranks of this host
  int local_size() const { return local_size_; }
  int host_processors() const { return host_processors_; }  ///< that one or another of those ranks may run on
  const std::string& host() const { return host_; }
  std::chrono::steady_clock::time_point begun() const { return begun_; }  ///< when this was made …
  std::chrono::steady_clock::time_point ready() const { return ready_; }  ///< … and when that was done

  /// "Open MPI v4.1.4, package …": the library that this program runs with.
  static std::string library();
  /// Ends all ranks of the job at once with this exit code; this process too when MPI is not (or no longer) there.
  [[noreturn]] static void abort(int exit_code) noexcept;

 private:
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now(), ready_;
  int uncaught_;  // exceptions in flight when this was made
  int world_rank_ = 0, world_size_ = 1, local_rank_ = 0, local_size_ = 1, host_processors_ = 1;
  std::string host_;
};

}  // namespace retain
