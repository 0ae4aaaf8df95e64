#include "trainer/run/report_writer.h"

#include <bit>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "parallel/agreement.h"
#include "parallel/health/stacks.h"

namespace retain {

namespace {

constexpr std::chrono::seconds kPatienceAtTheEnd{2};

}  // namespace

struct ReportWriter::State {
  struct Item {
    ReportSink* sink;  ///< null: everything before becomes durable
    std::string record;
  };
  /// What became of the records of a sink.
  struct Account {
    int64_t waiting = 0, lost = 0;
    int64_t lost_in_outage = 0;  ///< since writing worked last
    uint64_t outages = 0;
    std::string reason;  ///< of the newest loss
  };

  Notice notice;
  int64_t limit_bytes;
  std::vector<std::unique_ptr<ReportSink>> sinks;

  mutable std::mutex mutex;
  std::condition_variable changed;
  std::deque<Item> queue;
  int64_t queued_bytes = 0, queued = 0, done = 0;
  bool closing = false, ended = false;
  bool abandoned = false;   ///< nobody waits for it or listens to it any more
  bool threadless = false;  ///< there was no thread to be had: whoever reports writes, unless another one is at it
  bool delivering = false;  ///< somebody is
  std::map<const ReportSink*, Account> accounts;
  std::thread thread;

  void push(Item item);
  void work();
  void deliver_first(std::unique_lock<std::mutex>& lock);
  std::string lose(const ReportSink& sink, const std::string& reason);
  std::string recover(const ReportSink& sink);
  void tell(const ReportSink& sink, const std::string& text) const {
    if (!text.empty()) notice(sink, text);
  }
};

/// One record more is lost. What is to be said about it: the first of an outage, of outages 1, 2, 4, 8 … only, so that
/// a disk which fails now and then does not fill the log.
std::string ReportWriter::State::lose(const ReportSink& sink, const std::string& reason) {
  Account& account = accounts[&sink];
  ++account.lost;
  account.reason = reason;
  if (++account.lost_in_outage > 1) return {};
  return std::has_single_bit(++account.outages)
             ? concat(sink.name(), " cannot be written: ", reason, "; training goes on, and what is lost is counted")
             : std::string();
}

std::string ReportWriter::State::recover(const ReportSink& sink) {
  Account& account = accounts[&sink];
  const int64_t lost = std::exchange(account.lost_in_outage, 0);
  if (lost == 0 || !std::has_single_bit(account.outages)) return {};
  return concat(sink.name(), " is written again; ", lost, lost == 1 ? " record is lost" : " records are lost");
}

void ReportWriter::State::push(Item item) {
  std::unique_lock lock(mutex);
  const int64_t bytes = static_cast<int64_t>(item.record.size());
  if (item.sink && queued_bytes + bytes > limit_bytes) {
    const std::string text = lose(*item.sink, concat("it is too slow: ", queued_bytes, " bytes wait to be written"));
    lock.unlock();
    return tell(*item.sink, text);
  }
  if (item.sink) ++accounts[item.sink].waiting;
  queued_bytes += bytes;
  ++queued;
  queue.push_back(std::move(item));
  if (!thread.joinable() && !threadless) {
    try {
      thread = std::thread([this] { work(); });
    } catch (const std::system_error&) {
      threadless = true;
    }
  }
  if (threadless && !delivering) {
    delivering = true;
    while (!queue.empty()) deliver_first(lock);
    delivering = false;
  }
  changed.notify_all();
}

void ReportWriter::State::work() {
  leave_signals_to_main_thread();
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock, [this] { return !queue.empty() || closing; });
    if (queue.empty()) break;
    deliver_first(lock);
    changed.notify_all();
  }
  ended = true;
  changed.notify_all();
}

/// Writes without the lock; one at a time takes from the queue.
void ReportWriter::State::deliver_first(std::unique_lock<std::mutex>& lock) {
  const Item item = std::move(queue.front());
  queue.pop_front();
  std::vector<ReportSink*> to_sync;
  if (!item.sink) {
    for (const auto& sink : sinks) to_sync.push_back(sink.get());
  }
  const auto deliver = [&](ReportSink& sink, const std::function<void()>& work) {
    lock.unlock();
    const Outcome outcome = attempt(work);
    lock.lock();
    std::string text;
    if (!outcome.ok) text = lose(sink, outcome.message);
    if (outcome.ok && item.sink) text = recover(sink);
    if (abandoned) return;
    lock.unlock();
    tell(sink, text);
    lock.lock();
  };
  if (item.sink) deliver(*item.sink, [&] { item.sink->write(item.record); });
  for (ReportSink* const sink : to_sync) deliver(*sink, [&] { sink->sync(); });
  if (item.sink) --accounts[item.sink].waiting;
  queued_bytes -= static_cast<int64_t>(item.record.size());
  ++done;
}

ReportWriter::ReportWriter(Notice notice, int64_t limit_bytes) : state_(std::make_unique<State>()) {
  state_->notice = std::move(notice);
  state_->limit_bytes = limit_bytes;
}

ReportWriter::~ReportWriter() {
  std::unique_lock lock(state_->mutex);
  state_->closing = true;
  state_->changed.notify_all();
  if (!state_->thread.joinable()) return;
  state_->abandoned = !state_->changed.wait_for(lock, kPatienceAtTheEnd, [this] { return state_->ended; });
  lock.unlock();
  if (!state_->abandoned) {
    state_->thread.join();
  } else {  // the thread hangs in a call: it and all it uses stay until the process ends
    state_->thread.detach();
    static_cast<void>(state_.release());
  }
}

ReportSink& ReportWriter::add(std::unique_ptr<ReportSink> sink) {
  const std::scoped_lock lock(state_->mutex);
  return *state_->sinks.emplace_back(std::move(sink));
}

void ReportWriter::write(ReportSink& sink, std::string record) { state_->push({&sink, std::move(record)}); }

bool ReportWriter::flush(std::chrono::milliseconds patience) {
  {
    const std::scoped_lock lock(state_->mutex);
    if (state_->queued == 0) return true;  // nobody ever wrote
  }
  state_->push({nullptr, {}});
  std::unique_lock lock(state_->mutex);
  const int64_t want = state_->queued;
  return state_->changed.wait_for(lock, patience, [&] { return state_->done >= want; });
}

std::string ReportWriter::losses(const ReportSink& sink) const {
  const std::scoped_lock lock(state_->mutex);
  const State::Account& account = state_->accounts[&sink];
  const int64_t lost = account.lost + account.waiting;
  if (lost == 0) return {};
  return concat(lost, lost == 1 ? " record is lost (" : " records are lost (",
                account.waiting > 0 ? "they still wait to be written" : account.reason, ")");
}

}  // namespace retain
