// The course of `retain doctor`: every rank gathers facts, rank 0 judges them. Groups of checks are in files of their
// names, each a probe that observes and a judgement that is a function of what was observed.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "launch/doctor/finding.h"
#include "launch/doctor/record.h"
#include "launch/doctor/stage_clock.h"
#include "launch/session.h"

namespace retain::checkup {

struct Examined {
  std::optional<Config> config;  ///< of the run to come; without, the machines alone are looked at
  Target target;
  std::string run_directory = ".";
};

class Examination {
 public:
  /// `host` spans all ranks and outlives this; `hosts` has their machines. `end` ends the job, after what was found so
  /// far has been said: where ranks wait for one that does not come.
  Examination(Communicator& host, const Hosts& hosts, const LocalPlace& place, Examined examined,
              std::function<void(const Findings&)> end);

  /// What was found, on rank 0. Collective.
  Findings run();
  /// A probe hangs: the process cannot unwind.
  bool left_behind() const { return left_behind_; }

 private:
  void look_at_clocks();
  void look_at_software();
  void look_at_disk();
  void look_at_devices();
  void look_at_exchange();
  void look_at_run();
  /// Gathers what was observed since the last time, on rank 0, and clears it.
  void collect_record();
  Findings judge();
  bool on_rank_0() const { return host_.rank() == 0; }

  Communicator& host_;
  const Hosts& hosts_;
  LocalPlace place_;
  Examined examined_;
  std::function<void(const Findings&)> end_;
  std::mutex judging_;      ///< of records_ and findings_: the clock's thread judges too
  ByRank<Record> records_;  ///< rank 0's, of all ranks
  Findings findings_;       ///< of what rank 0 looks at for all
  Record record_;           ///< of this rank, since the last collect_record()
  bool left_behind_ = false;
  std::shared_ptr<Backend> backend_;
  StageClock clock_;
};

}  // namespace retain::checkup
