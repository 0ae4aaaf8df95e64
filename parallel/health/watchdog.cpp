#include "parallel/health/watchdog.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "parallel/agreement.h"
#include "parallel/health/hang_limit.h"
#include "parallel/health/health_network.h"
#include "parallel/health/stacks.h"
#include "parallel/host_name.h"

namespace retain {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kInterval{500};        // between pages
constexpr milliseconds kPatienceAtEnd{1400};  // with all that is still to be done
constexpr milliseconds kPatienceWithStacks{900};
constexpr milliseconds kPatienceWithOthers{300};
constexpr milliseconds kGoneForGood{3000};  // a process of this machine: its launcher has the word first
constexpr milliseconds kDeaf{30'000};       // after which a neighbour should have been heard
constexpr milliseconds kAskAfter{1000};     // without progress, in case that nobody waits who would ask

struct Verdict {
  int exit_code = 0;
  std::string text;
};

std::string seconds_text(milliseconds time) {
  return concat(time.count() / 1000, ".", time.count() % 1000 / 100, " s");
}

/// Past all that may be locked.
void write_to_stderr(std::string_view text) {
  while (!text.empty()) {
    const ssize_t bytes = ::write(STDERR_FILENO, text.data(), text.size());
    if (bytes <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(bytes));
  }
}

/// A rank that this one hears directly.
struct Neighbour {
  RankPage page;
  SubtreePage subtree;       ///< of a child
  bool heard = false;        ///< ever
  bool gone = false;         ///< it said goodbye
  milliseconds silence{0};   ///< since it was heard, or since the start
  milliseconds vanished{0};  ///< since its process was seen to be gone
};

}  // namespace

class Watchdog::Thread {
 public:
  Thread(Communicator& host, Activity& activity, const WatchdogOptions& options);
  ~Thread();

  void set_deeds(LastDeeds deeds) {
    const std::lock_guard lock(deeds_mutex_);
    deeds_ = std::move(deeds);
  }

 private:
  void watch();
  void look(milliseconds passed);
  void hear(const HealthMessage& message);
  void judge_own();
  void judge_neighbours(milliseconds passed);
  void judge_all();
  void tell_neighbours();
  void restart_clocks();
  /// Asks what nobody asks who does not wait.
  void ask_in_time();
  SubtreePage subtree() const;
  HealthMessage message_of(HealthMessage::Kind kind) const;

  void pass_on(const Verdict& verdict, bool to_all);
  [[noreturn]] void end(const Verdict& verdict, bool to_all);

  Activity& activity_;
  HangLimit limit_;
  const pid_t launcher_;
  const bool launched_;
  RankPage self_;
  std::optional<HealthNetwork> network_;  // none for a rank alone
  TreePlace place_;
  std::map<int, Neighbour> neighbours_;
  ProgressClock progress_, progress_beside_;
  bool told_deaf_ = false;
  milliseconds lived_{0};

  std::mutex deeds_mutex_, failure_mutex_;
  LastDeeds deeds_;
  std::string failure_;  // of a question
  milliseconds failed_for_{0};
  std::atomic<bool> over_{false}, stalled_{false};
  std::thread asking_, watching_;  // last: they use the rest
};

Watchdog::Thread::Thread(Communicator& host, Activity& activity, const WatchdogOptions& options)
    : activity_(activity), limit_(options.timeout), launcher_(::getppid()), launched_(options.launched) {
  self_.rank = host.rank();
  self_.pid = ::getpid();
  self_.host = host_name();
  if (host.size() > 1) {
    network_.emplace(host);
    place_ = tree_place(host.rank(), host.size());
    if (place_.parent >= 0) neighbours_[place_.parent];
    for (const int child : place_.children) neighbours_[child];
  }
  prepare_stacks();
  const Outcome begun = attempt([this] {
    asking_ = std::thread([this] {
      leave_signals_to_main_thread();
      ask_in_time();
    });
    watching_ = std::thread([this] {
      leave_signals_to_main_thread();
      watch();
    });
  });
  if (!begun.ok)
    write_to_stderr(
        concat("retain: ", name_of(self_), " is not watched: no thread is to be had: ", begun.message, "\n"));
}

Watchdog::Thread::~Thread() {
  over_ = true;
  for (std::thread* const thread : {&watching_, &asking_}) {
    if (thread->joinable()) thread->join();
  }
  for (int twice = 0; twice < 2; ++twice) {
    for (const auto& [rank, neighbour] : neighbours_) network_->send(rank, message_of(HealthMessage::Kind::kGoodbye));
  }
}

void Watchdog::Thread::watch() {
  const milliseconds interval = std::min(kInterval, limit_.usual() / 8);
  Clock::time_point last = Clock::now(), due = last;
  while (!over_) {
    const Clock::time_point now = Clock::now();
    const auto passed = std::chrono::duration_cast<milliseconds>(now - last);
    last += passed;
    // Whoever did not run itself, suspended with its whole job or starved, accuses nobody for that time.
    if (passed > 4 * interval) restart_clocks();
    look(std::min(passed, 2 * interval));
    if (now >= due) {
      tell_neighbours();
      due = now + interval;
    }
    const milliseconds rest = std::min(interval / 2, milliseconds{50});
    if (network_) {
      network_->await(static_cast<int>(rest.count()));
    } else {
      std::this_thread::sleep_for(rest);
    }
  }
}

void Watchdog::Thread::look(milliseconds passed) {
  lived_ += passed;
  const Activity::View view = activity_.view();
  progress_.look(view, passed, limit_);
  bool beside = false;
  activity_.look_beside([&](const Activity::View& other) {
    beside = true;
    progress_beside_.look(other, passed, limit_);
  });
  if (!beside) progress_beside_.restart();
  self_ = page_of(self_, view, progress_.idle().count());
  stalled_ = progress_.idle() > kAskAfter && !view.patient;  // who ends after an error has the word itself
  for (auto& [rank, neighbour] : neighbours_) neighbour.silence += passed;
  if (network_) {
    while (const std::optional<HealthMessage> message = network_->receive()) hear(*message);
  }
  {
    const std::lock_guard lock(failure_mutex_);
    failed_for_ = failure_.empty() || view.patient ? milliseconds{0} : failed_for_ + passed;
  }
  judge_own();
  judge_neighbours(passed);
  judge_all();
}

void Watchdog::Thread::hear(const HealthMessage& message) {
  if (message.kind == HealthMessage::Kind::kVerdict) end({message.exit_code, message.text.text()}, false);
  const auto found = neighbours_.find(message.from);
  if (found == neighbours_.end()) return;
  Neighbour& neighbour = found->second;
  neighbour.heard = true;
  neighbour.gone = message.kind == HealthMessage::Kind::kGoodbye;
  neighbour.page = message.page;
  neighbour.subtree = message.subtree;
  neighbour.silence = neighbour.vanished = milliseconds{0};
}

void Watchdog::Thread::restart_clocks() {
  progress_.restart();
  progress_beside_.restart();
  for (auto& [rank, neighbour] : neighbours_) neighbour.silence = neighbour.vanished = milliseconds{0};
}

void Watchdog::Thread::judge_own() {
  constexpr int kHang = static_cast<int>(ErrorKind::kInternal), kFailed = static_cast<int>(ErrorKind::kDevice);
  if (launched_ && ::getppid() != launcher_)
    end({kHang, concat("the launcher of ", name_of(self_), " (pid ", launcher_, ") is gone")}, true);
  if (failed_for_ > kAskAfter) {  // whoever waits learns of it, too, and has had the word
    const std::lock_guard lock(failure_mutex_);
    end({kFailed, concat(name_of(self_), ": ", failure_, "; it was in ", place_of(self_))}, true);
  }
  if (self_.waits_for_ranks == 0 && progress_.idle() > limit_.of(self_.patient != 0))
    end({kHang,
         concat(name_of(self_), " hangs: no progress for ", seconds_text(progress_.idle()), " in ", place_of(self_))},
        true);
  if (progress_beside_.idle() > limit_.patient())
    end({kHang, concat(name_of(self_), " hangs in writing a checkpoint: nothing was written for ",
                       seconds_text(progress_beside_.idle()), "; is the disk dead?")},
        true);
}

void Watchdog::Thread::judge_neighbours(milliseconds passed) {
  constexpr int kHang = static_cast<int>(ErrorKind::kInternal);
  bool deaf = false;
  for (auto& [rank, neighbour] : neighbours_) {
    if (neighbour.gone) continue;
    deaf = deaf || !neighbour.heard;
    if (!neighbour.heard) continue;
    const RankPage& page = neighbour.page;
    const bool vanished = network_->on_this_machine(rank) && ::kill(page.pid, 0) != 0 && errno == ESRCH;
    neighbour.vanished = vanished ? neighbour.vanished + passed : milliseconds{0};
    if (neighbour.vanished > kGoneForGood)
      end({kHang, concat(name_of(page), " is dead; its last word: ", place_of(page))}, true);
    // A start that locks much memory may stop all threads of a process for a while.
    if (neighbour.silence > (page.step == 0 ? 6 : 1) * limit_.usual())
      end({kHang, concat(name_of(page), " gives no sign of life for ", seconds_text(neighbour.silence),
                         ": it is stopped, or its machine or the network is down; its last word: ", place_of(page))},
          true);
  }
  if (!deaf || told_deaf_ || lived_ < kDeaf) return;
  told_deaf_ = true;
  std::string whom;
  for (const auto& [rank, neighbour] : neighbours_) {
    if (!neighbour.heard && !neighbour.gone) whom += concat(" rank ", rank, " on ", network_->address_of(rank));
  }
  write_to_stderr(concat("retain: ", name_of(self_), " hears nothing over UDP from", whom,
                         ": if a firewall stands between them, a hang of the others may not be noticed\n"));
}

SubtreePage Watchdog::Thread::subtree() const {
  SubtreePage all;
  all.add(self_);
  for (const int child : place_.children) {
    const Neighbour& neighbour = neighbours_.at(child);
    if (neighbour.heard && !neighbour.gone) all.add(neighbour.subtree);
  }
  return all;
}

void Watchdog::Thread::judge_all() {
  if (!network_ || network_->rank() != 0) return;
  const SubtreePage all = subtree();
  if (all.ranks != network_->ranks() || all.all_wait == 0 || milliseconds(all.idle_ms) <= limit_.usual()) return;
  end({static_cast<int>(ErrorKind::kInternal),
       concat("all ", all.ranks, " ranks have waited for each other for ", seconds_text(milliseconds(all.idle_ms)),
              ": a message is lost, or a network is down; furthest behind is ", name_of(all.behind), ", in ",
              place_of(all.behind))},
      true);
}

HealthMessage Watchdog::Thread::message_of(HealthMessage::Kind kind) const {
  HealthMessage message;
  message.kind = kind;
  message.page = self_;
  return message;
}

void Watchdog::Thread::tell_neighbours() {
  if (!network_) return;
  HealthMessage message = message_of(HealthMessage::Kind::kPage);
  for (const int child : place_.children) network_->send(child, message);
  if (place_.parent < 0) return;
  message.subtree = subtree();
  network_->send(place_.parent, message);
}

void Watchdog::Thread::ask_in_time() {
  while (!over_) {
    std::this_thread::sleep_for(milliseconds{50});
    if (!stalled_) continue;
    const Outcome outcome = attempt([&] { activity_.ask(); });
    if (outcome.ok) continue;
    const std::lock_guard lock(failure_mutex_);
    if (failure_.empty()) failure_ = outcome.message;
  }
}

void Watchdog::Thread::pass_on(const Verdict& verdict, bool to_all) {
  if (!network_) return;
  HealthMessage message = message_of(HealthMessage::Kind::kVerdict);
  message.exit_code = verdict.exit_code;
  message.text = verdict.text;
  for (int twice = 0; twice < 2; ++twice) {  // a datagram may be lost
    for (int rank = 0; rank < network_->ranks(); ++rank) {
      if (rank != network_->rank() && (to_all || neighbours_.contains(rank))) network_->send(rank, message);
    }
  }
}

void Watchdog::Thread::end(const Verdict& verdict, bool to_all) {
  pass_on(verdict, to_all);
  const std::string who = network_ ? concat("rank ", self_.rank, " ", self_.host.text(), ": ") : "";
  const std::string line = concat("retain: ", who, verdict.text);
  // To the end: whoever takes the deeds back, because what they use goes, waits.
  const std::lock_guard lock(deeds_mutex_);
  const LastDeeds deeds = std::move(deeds_);
  std::atomic<int> at_work{3};
  const auto begin = [&](auto work) {
    const Outcome begun = attempt([&] {
      std::thread([&at_work, work] {
        attempt(work);
        --at_work;
      }).detach();
    });
    if (!begun.ok) --at_work;
  };
  begin([&] {
    write_to_stderr(concat(line, "\n"));
    // In one piece, so that those of several ranks do not mix.
    write_to_stderr(concat("  rank ", self_.rank, " is in ", place_of(self_), "; its threads:\n",
                           stacks_of_all_threads(kPatienceWithStacks)));
  });
  begin([&] {
    if (deeds.let_go) deeds.let_go();
  });
  begin([&] {
    if (deeds.record && to_all) deeds.record(line, verdict.exit_code);  // once: by who found it
  });
  const Clock::time_point until = Clock::now() + kPatienceAtEnd;
  while (at_work > 0 && Clock::now() < until) std::this_thread::sleep_for(milliseconds{2});
  // When the first rank is gone the launcher kills the others, who may not have said theirs.
  if (network_) std::this_thread::sleep_for(kPatienceWithOthers);
  ::_exit(verdict.exit_code);
}

Watchdog::Watchdog(Communicator& host, Activity& activity, const WatchdogOptions& options)
    : thread_(std::make_unique<Thread>(host, activity, options)) {}

Watchdog::~Watchdog() = default;

Watchdog::AtEnd::AtEnd(Watchdog* watchdog, LastDeeds deeds) : watchdog_(watchdog) {
  if (watchdog_) watchdog_->thread_->set_deeds(std::move(deeds));
}

Watchdog::AtEnd::~AtEnd() {
  if (watchdog_) watchdog_->thread_->set_deeds({});
}

}  // namespace retain
