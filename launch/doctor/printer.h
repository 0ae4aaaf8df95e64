// How the doctor says what it found.
#pragma once

#include <string>

#include "launch/doctor/finding.h"

namespace retain::checkup {

/// A line a finding, with the fix below where there is one, and a line that counts them.
std::string to_text(const Findings& findings, const Hosts& hosts);
/// {"schema": 1, "ranks", "machines": [{"host", "ranks"}], "findings": [{"verdict", "group", "check", "value", "fix"}],
/// "passed", "warnings", "failures"}
std::string to_json(const Findings& findings, const Hosts& hosts);
int count(const Findings& findings, Verdict verdict);

}  // namespace retain::checkup
