// Figures as files, drawn where there is gnuplot.
#pragma once

#include <vector>

#include "trainer/file.h"
#include "trainer/study/figures.h"

namespace retain {

/// Makes the folder, writes scripts and data there, lets gnuplot draw, and prints what there is: NAME.svg, or
/// NAME.gnuplot where there is no gnuplot, which is said. Throws Error(kCannotCreate), Error(kIo).
void write_figures(const std::vector<Figure>& figures, const Path& folder);

}  // namespace retain
