// The stacks of all threads of this process, for the watchdog's last words.
#pragma once

#include <chrono>
#include <string>

namespace retain {

/// For a thread beside the main one: signals are the main thread's, but for the one that asks a thread for its stack.
void leave_signals_to_main_thread();

/// Makes the process ready for dump_stacks(). Before threads hang: loads what a stack is unwound with.
void prepare_stacks();

/// The stacks of all threads, taken within so much time. Threads that do not answer, because they are stopped in the
/// kernel, are named with the function that they wait in there. Takes no lock and no memory of the heap in the threads
/// that it asks.
std::string stacks_of_all_threads(std::chrono::milliseconds patience);

}  // namespace retain
