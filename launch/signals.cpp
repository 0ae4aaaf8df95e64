#include "launch/signals.h"

#include <csignal>

namespace retain {

namespace {

volatile std::sig_atomic_t stop = 0;
volatile std::sig_atomic_t save = 0;

void ask_to_stop(int) { stop = 1; }
void ask_to_save(int) { save = 1; }

void handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

}  // namespace

SignalWishes::SignalWishes() {
  stop = 0;
  save = 0;
  handle(SIGUSR1, ask_to_stop);
  handle(SIGTERM, ask_to_stop);
  handle(SIGUSR2, ask_to_save);
  // Writes fail with a reason instead: past the limit of file sizes, and to a reader of stdout or another rank that is
  // gone.
  handle(SIGXFSZ, SIG_IGN);
  handle(SIGPIPE, SIG_IGN);
}

bool SignalWishes::stop_requested() const { return stop != 0; }

bool SignalWishes::take_save_request() {
  if (!save) return false;
  save = 0;
  return true;
}

}  // namespace retain
