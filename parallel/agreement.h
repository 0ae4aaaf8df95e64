// Small control messages between the ranks of a run, over a host communicator, and agreement about failures: what fails
// on one rank fails on all of them, with the message of the one that saw it.
#pragma once

#include <concepts>
#include <cstdint>
#include <map>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "parallel/communicator.h"

namespace retain {

/// What every rank throws alike: it is said once, by rank 0.
class SharedError : public Error {
 public:
  using Error::Error;
};

/// What became of a piece of work: done, or why not.
struct Outcome {
  bool ok = true;
  ErrorKind kind = ErrorKind::kInternal;
  std::string message = {};
  bool shared = false;  ///< every rank knows the same

  /// Throws Error, or SharedError.
  void throw_if_failed() const {
    if (ok) return;
    if (shared) throw SharedError(kind, message);
    throw Error(kind, message);
  }
};

/// Runs the work; an exception becomes a failed outcome. For work whose failure must reach other ranks or threads.
template <std::invocable Work>
Outcome attempt(Work&& work) {
  try {
    work();
    return {};
  } catch (const Error& e) {
    return {false, e.kind(), e.what()};
  } catch (const std::bad_alloc&) {
    return {false, ErrorKind::kOutOfMemory, "out of memory"};
  } catch (const std::system_error& e) {
    return {false, ErrorKind::kIo, e.what()};
  } catch (const std::exception& e) {
    return {false, ErrorKind::kInternal, e.what()};
  }
}

/// Work that every rank does with the same outcome, on values that all have: what it throws becomes a SharedError.
/// Memory is each rank's own: that it ran out here says nothing of the others.
template <std::invocable Work>
void do_alike(Work&& work) {
  Outcome outcome = attempt(std::forward<Work>(work));
  outcome.shared = outcome.kind != ErrorKind::kOutOfMemory;
  outcome.throw_if_failed();
}

/// A text from one rank to another, which asks for it.
void send_text(Communicator& host, std::string text, int peer);
std::string receive_text(Communicator& host, int peer);

// All of these are collective.

/// Is it so on every rank?
bool on_every_rank(Communicator& host, bool mine);
/// root's text, on every rank.
std::string broadcast_text(Communicator& host, const std::string& text, int root);
/// Every rank's text, on rank 0; empty elsewhere. They travel along a tree: rank 0 gets log2 of as many messages.
std::vector<std::string> gather_texts(Communicator& host, const std::string& mine);
/// The same outcome on every rank: done if all are, else the failure of the lowest failed rank, "rank 3: …".
Outcome agree(Communicator& host, const Outcome& mine);
/// root's outcome on every rank.
Outcome broadcast_outcome(Communicator& host, const Outcome& mine, int root);
/// What must be the same on every rank of a run: names and values.
using Facts = std::map<std::string, std::string>;
/// Throws SharedError(kConfig) when a rank's facts are not those of the others: names the first rank that is not as
/// most are (as rank 0 is where no value is most ranks'), its host, and what differs with both values. Where all agree,
/// a reduction of 16 bytes.
void agree_on_facts(Communicator& host, const Facts& mine, const std::string& host_name);
/// Work that rank 0 does for all: what it throws there, every rank throws as a SharedError.
template <std::invocable Work>
void do_on_rank_0(Communicator& host, Work&& work) {
  const Outcome mine = host.rank() == 0 ? attempt(std::forward<Work>(work)) : Outcome{};
  broadcast_outcome(host, mine, 0).throw_if_failed();
}

}  // namespace retain
