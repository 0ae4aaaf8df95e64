// What the doctor finds: one line a check, of all ranks together. Everything here is arithmetic of texts and numbers.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace retain::checkup {

enum class Verdict : uint8_t { kPass, kWarn, kFail };
const char* verdict_name(Verdict verdict);  ///< "PASS", "WARN", "FAIL"

struct Finding {
  Verdict verdict = Verdict::kPass;
  std::string group, check;  ///< "disk", "rename"
  std::string value;         ///< what was observed, and on which ranks where not on all
  std::string fix = {};      ///< what to do; empty with kPass
};
using Findings = std::vector<Finding>;

/// What was observed on each rank where it could be.
template <class Facts>
using ByRank = std::map<int, Facts>;

/// The machine of every rank.
class Hosts {
 public:
  explicit Hosts(std::vector<std::string> of_ranks) : of_ranks_(std::move(of_ranks)) {}

  int ranks() const { return static_cast<int>(of_ranks_.size()); }
  const std::string& of(int rank) const { return of_ranks_[static_cast<size_t>(rank)]; }
  /// By name, with their ranks.
  std::map<std::string, std::vector<int>> machines() const;
  /// "all 8 ranks", "rank 3 on gpu2", "ranks 0-2, 6 on gpu1, gpu2"; the ranks in rising order.
  std::string describe(const std::vector<int>& ranks) const;

 private:
  std::vector<std::string> of_ranks_;
};

/// "0-2, 6"; of a long list the first ranges.
std::string ranges(const std::vector<int>& numbers);

/// "4.1.4" where all have it, else "4.1.4 on ranks 0-6 …; 4.1.5 on rank 7 on gpu2": what most have is first.
std::string describe_values(const ByRank<std::string>& values, const Hosts& hosts);
/// Those that have another value than most.
std::vector<int> odd_ranks(const ByRank<std::string>& values);

/// "61.2 TFLOP/s", or "61.2 to 63 TFLOP/s".
std::string describe_range(const ByRank<double>& values, const std::string& unit);
double median_of(const ByRank<double>& values);

/// One check of all ranks: nothing amiss is one finding, and so is each thing that is amiss on some of them.
class Check {
 public:
  Check(std::string group, std::string check) : group_(std::move(group)), check_(std::move(check)) {}

  /// What is amiss on this rank, in words that are the same for all of which it is; the number that goes with it may
  /// differ.
  void amiss(int rank, Verdict verdict, const std::string& what, const std::string& fix,
             double number = std::numeric_limits<double>::quiet_NaN(), const std::string& unit = "");
  /// `value`: of a finding that all is well.
  Findings findings(const Hosts& hosts, const std::string& value) const;

 private:
  struct Thing {
    std::vector<int> ranks;
    ByRank<double> numbers;
    std::string unit;
  };
  std::string group_, check_;
  std::map<std::tuple<Verdict, std::string, std::string>, Thing> things_;  ///< by verdict, what and fix
};

inline void append(Findings& to, const Findings& more) { to.insert(to.end(), more.begin(), more.end()); }

}  // namespace retain::checkup
