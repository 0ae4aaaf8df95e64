// What one rank observed: facts of every group of probes as JSON, and why a group has none. A probe that throws costs
// its own group alone, and so does one that hangs.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "launch/doctor/finding.h"
#include "parallel/communicator.h"

namespace retain::checkup {

class StageClock;

class Record {
 public:
  /// Writes down the facts that the probe gives, or why it gave none.
  template <class Probe>
  void observe(const std::string& group, Probe probe) {
    write_down(group, [probe = std::move(probe)]() mutable { return nlohmann::json(probe()); });
  }
  /// The same of a probe that may hang: it runs on a thread of its own, which is left behind when it takes longer. What
  /// it uses must live as long as it does.
  template <class Probe>
  void observe_within(std::chrono::milliseconds limit, const std::string& group, Probe probe) {
    write_down_within(limit, group, [probe = std::move(probe)]() mutable { return nlohmann::json(probe()); });
  }
  void fail(const std::string& group, const std::string& reason) { failures_[group] = reason; }
  bool failed(const std::string& group) const { return failures_.contains(group); }
  /// A thread that was left behind may be anywhere: the process must end without unwinding.
  bool left_behind() const { return left_behind_; }

  std::string text() const;
  static Record read(const std::string& text);
  /// Adds what another record of this rank has.
  void add(const Record& more);

  const std::map<std::string, nlohmann::json>& facts() const { return facts_; }
  const std::map<std::string, std::string>& failures() const { return failures_; }

 private:
  void write_down(const std::string& group, const std::function<nlohmann::json()>& probe);
  void write_down_within(std::chrono::milliseconds limit, const std::string& group,
                         std::function<nlohmann::json()> probe);

  std::map<std::string, nlohmann::json> facts_;
  std::map<std::string, std::string> failures_;
  bool left_behind_ = false;
};

/// The facts of a group on the ranks that have them.
template <class Facts>
ByRank<Facts> facts_of(const ByRank<Record>& records, const std::string& group) {
  ByRank<Facts> facts;
  for (const auto& [rank, record] : records) {
    const auto found = record.facts().find(group);
    if (found != record.facts().end()) facts[rank] = found->second.template get<Facts>();
  }
  return facts;
}

/// A failure for each reason for which a group has no facts on some ranks.
Findings judge_failures(const ByRank<Record>& records, const Hosts& hosts);

/// Every rank's record, on rank 0, which receives them one after the other so that the clock knows for whom it waits.
/// Collective.
ByRank<Record> collect(Communicator& host, const Hosts& hosts, StageClock& clock, std::chrono::milliseconds limit,
                       const Record& mine);

}  // namespace retain::checkup
