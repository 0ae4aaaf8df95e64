#include "launch/failure.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <new>
#include <thread>

#include "parallel/agreement.h"
#include "trainer/config.h"

namespace retain {

namespace {

using std::chrono::milliseconds;

// What may hang is given so long before the job ends without it.
constexpr milliseconds kPatience{2000};
// Ranks that fail alike without knowing of each other speak one after the other, until the first has ended the job: the
// others leave rank 0 the time for a whole farewell on a slow disk, and then come half a second apart.
constexpr milliseconds kTurnOfOthers = 3 * kPatience, kTurnOfARank{500}, kTurnOfTheLast{9000};
// What this rank sees may follow from what another one is about to say.
constexpr milliseconds kTurnOfPeers{11000};
// Another rank is about to say the same.
constexpr milliseconds kTurnOfRank0{20000};

/// Of the exception that is being handled.
Failure failure_in_flight() {
  try {
    throw;
  } catch (const ConfigError& error) {
    const bool placed = error.kind() == ErrorKind::kConfig;
    return {error.exit_code(), error.what(), Failure::Reach::kAllRanks, placed ? "" : "retain: "};
  } catch (const SharedError& error) {
    return {error.exit_code(), error.what(), Failure::Reach::kAllRanks};
  } catch (const CommunicationError& error) {
    return {error.exit_code(), error.what(), Failure::Reach::kPeers};
  } catch (const Error& error) {
    return {error.exit_code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {static_cast<int>(ErrorKind::kOutOfMemory), "out of memory on the host"};
  } catch (const std::exception& error) {
    return {static_cast<int>(ErrorKind::kInternal), error.what()};
  }
}

milliseconds turn_of(const Failure& failure, int world_rank) {
  switch (failure.reach) {
    case Failure::Reach::kAllRanks: return world_rank == 0 ? milliseconds{0} : kTurnOfRank0;
    case Failure::Reach::kPeers: return kTurnOfPeers;
    case Failure::Reach::kThisRank:
      return world_rank == 0 ? milliseconds{0} : std::min(kTurnOfOthers + world_rank * kTurnOfARank, kTurnOfTheLast);
  }
  return {};
}

/// Waits for the signal by which a launcher ends the ranks of a job that another one has given up.
bool ended_by_another(milliseconds patience) {
  if (patience.count() == 0) return false;
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &end, nullptr);
  const timespec limit{.tv_sec = patience.count() / 1000, .tv_nsec = patience.count() % 1000 * 1'000'000};
  int signal = 0;
  do {
    signal = sigtimedwait(&end, nullptr, &limit);
  } while (signal < 0 && errno == EINTR);
  return signal == SIGTERM;
}

/// Does what may never return, and is then left behind, false: this process ends without it.
bool try_within(milliseconds patience, const std::function<void()>& work) {
  std::packaged_task<void()> task(work);
  const std::future<void> end = task.get_future();
  const Outcome started = attempt([&] { std::thread(std::move(task)).detach(); });
  if (!started.ok) attempt(work);  // there is no thread to be had
  return !started.ok || end.wait_for(patience) == std::future_status::ready;
}

void say(const Farewell& farewell, const std::string& line) {
  if (farewell.say) return farewell.say(line);
  const std::string text = line + "\n";  // one write, so that messages of several ranks do not mix
  std::fwrite(text.data(), 1, text.size(), stderr);
}

[[noreturn]] void end_job(const MpiEnvironment& mpi, const Failure& failure, const Farewell& farewell,
                          const std::string& line) {
  if (ended_by_another(turn_of(failure, mpi.world_rank()))) std::_Exit(failure.exit_code);
  say(farewell, line);
  if (farewell.let_go) try_within(kPatience, farewell.let_go);
  if (farewell.record) try_within(kPatience, [&] { farewell.record(failure, line); });
  MpiEnvironment::abort(failure.exit_code);
}

}  // namespace

int run_to_exit_code(const MpiEnvironment* mpi, const std::function<int()>& work, const Farewell& farewell) {
  try {
    return work();
  } catch (...) {
    const Failure failure = failure_in_flight();
    const bool alone = !mpi || mpi->world_size() == 1, shared = failure.reach == Failure::Reach::kAllRanks;
    const std::string who = alone || shared ? "" : concat("rank ", mpi->world_rank(), " ", mpi->host(), ": ");
    const std::string line = concat(failure.program, who, failure.message);
    if (!alone && (!shared || farewell.let_go)) end_job(*mpi, failure, farewell, line);
    if (alone || mpi->world_rank() == 0) {
      say(farewell, line);
      const bool recorded = !farewell.record || try_within(kPatience, [&] { farewell.record(failure, line); });
      if (!recorded) std::_Exit(failure.exit_code);  // what unwinds would wait for the same disk
    }
    return failure.exit_code;
  }
}

int run_alike_before_mpi(const Launch& launch, const std::function<int()>& work) {
  if (launch.rank == 0) return run_to_exit_code(nullptr, work);
  // The launcher ends all where one ends with an error: that the first has said why.
  return run_to_exit_code(nullptr, work, {.say = [](const std::string&) { ended_by_another(kPatience); }});
}

}  // namespace retain
