#include "launch/signals.h"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>

#include "parallel/mpi/launch.h"

namespace retain {

namespace {

constexpr int64_t kSecond = 1'000'000'000;  // ns
// A TERM that is repeated ends a process that has got nothing done for so long.
constexpr int64_t kDeadAfter = 5 * kSecond;
// The end of a terminal is told by the kernel and by the shell: hang-ups that follow each other so closely are one.
constexpr int64_t kOneHangUp = kSecond / 4;

std::atomic<int> stop = 0;                    // the signal that asked for it first
std::atomic<bool> save = false;               // was asked for
std::atomic<bool> interrupted = false;        // from the keyboard
std::atomic<int64_t> hung_up_at = 0;          // ns; 0: not yet
std::atomic<int64_t> nothing_done_since = 0;  // ns: the first TERM, or what was done last since then; 0: no TERM yet
std::atomic<bool> speaks = false;             // in the first process of a launch
// What will be done about the wish, and what it takes away when it is repeated.
std::atomic<const char*> promise = nullptr, loss = nullptr;
static_assert(std::atomic<int64_t>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

const char* name_of(int signal) {
  switch (signal) {
    case SIGUSR1: return "SIGUSR1";
    case SIGUSR2: return "SIGUSR2";
    case SIGTERM: return "SIGTERM";
    case SIGINT: return "SIGINT";
    case SIGHUP: return "SIGHUP";
    case SIGQUIT: return "SIGQUIT";
    default: return "";
  }
}

/// Says at once, where stderr takes it without a wait, what the log will say when the wish is granted.
void acknowledge(int signal) {
  pollfd ready{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (!speaks || !promise || poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0) return;
  std::array<char, 128> line{};
  size_t length = 0;
  const bool keyboard = signal == SIGINT || signal == SIGQUIT;
  for (const char* const part : {"retain: ", name_of(signal), ": ", promise.load(),
                                 keyboard ? "; once more ends it at once" : "", keyboard ? loss.load() : "", "\n"}) {
    const size_t n = strlen(part);
    memcpy(line.data() + length, part, n);
    length += n;
  }
  static_cast<void>(!write(STDERR_FILENO, line.data(), length));
}

void ask_to_stop(int signal) {
  int none = 0;
  if (stop.compare_exchange_strong(none, signal)) acknowledge(signal);
}

/// What the signal does by default, as soon as its handler is left.
void end_by(int signal) {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigaction(signal, &action, nullptr);
  raise(signal);
}

void on_stop(int signal) {
  const int error = errno;
  ask_to_stop(signal);
  errno = error;
}

void on_terminate(int signal) {
  const int error = errno;
  const int64_t now = now_ns();
  int64_t since = 0;
  const bool repeated = !nothing_done_since.compare_exchange_strong(since, now);
  if (repeated && now - since >= kDeadAfter) end_by(signal);
  ask_to_stop(signal);
  errno = error;
}

void on_keyboard(int signal) {
  const int error = errno;
  if (interrupted.exchange(true)) end_by(signal);
  ask_to_stop(signal);
  errno = error;
}

void on_hang_up(int signal) {
  const int error = errno;
  const int64_t now = now_ns();
  int64_t first = 0;
  if (!hung_up_at.compare_exchange_strong(first, now) && now - first >= kOneHangUp) end_by(signal);
  ask_to_stop(signal);
  errno = error;
}

void on_save(int) { save = true; }

}  // namespace

SignalWishes::SignalWishes() {
  stop = 0;
  save = interrupted = false;
  hung_up_at = nothing_done_since = 0;
  speaks = find_launch(std::getenv, mpi_family()).rank == 0;
  promise = "the run will save and end";
  loss = ", without a save";
  handle_wishes();
  // Writes fail with a reason instead: past the limit of file sizes, and to a reader of stdout or another rank that is
  // gone.
  handle(SIGXFSZ, SIG_IGN);
  handle(SIGPIPE, SIG_IGN);
  // Whoever started this process may have held them back until now.
  sigset_t wishes;
  sigemptyset(&wishes);
  for (const int signal : {SIGUSR1, SIGTERM, SIGUSR2, SIGINT, SIGQUIT, SIGHUP}) sigaddset(&wishes, signal);
  sigprocmask(SIG_UNBLOCK, &wishes, nullptr);
}

void SignalWishes::handle_wishes() {
  handle(SIGUSR1, on_stop);
  handle(SIGTERM, on_terminate);
  handle(SIGUSR2, on_save);
  handle(SIGINT, on_keyboard);
  handle(SIGQUIT, on_keyboard);
  handle(SIGHUP, on_hang_up);
}

void SignalWishes::handle(int signal, void (*handler)(int)) {
  Before& before = before_.at(handled_++);
  before.signal = signal;
  sigaction(signal, nullptr, &before.action);
  if (signal == SIGHUP && before.action.sa_handler == SIG_IGN) return;  // started by nohup
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

void SignalWishes::give_up() const {
  for (const Before& before : before_) sigaction(before.signal, &before.action, nullptr);
  if (const int signal = stop) raise(signal);
}

void SignalWishes::take_up(const char* promised) {
  promise = promised;
  loss = "";
  handled_ = 0;
  handle_wishes();
}

bool SignalWishes::stop_requested() const { return stop != 0; }

std::string SignalWishes::name_of_request() const {
  if (stop != 0) return name_of(stop);
  return save ? name_of(SIGUSR2) : "";
}

bool SignalWishes::take_save_request() { return save.exchange(false); }

void SignalWishes::progressed() {
  int64_t since = nothing_done_since;
  // A TERM between is none that follows on the first one without anything done.
  if (since != 0) nothing_done_since.compare_exchange_strong(since, now_ns());
}

int work_or_end(SignalWishes& signals, const std::function<void(const std::function<void()>& may_end)>& work) {
  struct AskedToEnd {};  // no std::exception: nobody between makes a failure of it
  signals.take_up(nullptr);
  try {
    work([&] {
      signals.progressed();
      if (signals.stop_requested()) throw AskedToEnd();
    });
  } catch (const AskedToEnd&) {
    signals.give_up();
    return 128 + stop;
  }
  return 0;
}

}  // namespace retain
