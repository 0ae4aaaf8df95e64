// A fitted study as a page of Markdown: what was fitted, how well it holds, what it says, and what to beware of.
#pragma once

#include <string>

#include "trainer/study/fit_file.h"

namespace retain {

/// `figures`: the folder of the figures as the page links it; "" without figures.
std::string write_report(const FittedStudy& fit, const std::string& figures);

}  // namespace retain
