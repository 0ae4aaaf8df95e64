// Whether all ranks run the same program on the same libraries.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/doctor/finding.h"

namespace retain::checkup {

struct VersionFacts {
  /// By name; only what the build has.
  std::map<std::string, std::string> versions;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VersionFacts, versions)

VersionFacts probe_versions();
/// Programs and libraries that must speak the same language are failures where they differ, the others warnings.
Findings judge_versions(const ByRank<VersionFacts>& ranks, const Hosts& hosts);

}  // namespace retain::checkup
