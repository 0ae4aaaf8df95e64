// Which runs a study consists of. A cell is a point of the law: a size, its tokens, a seed; its run ends with the rate
// decayed to the end. Without decay_branches each cell is a run of its own from the beginning.
//
// With decay_branches the cells of one size and seed share what is alike: a trunk of constant rate, in legs from one
// point where a cell branches off to the next, and for each cell a branch that starts from the leg's last checkpoint
// (retain train --resume) and does what the trunk would have done next, but that its rate decays:
//
//   leg to step 90 ---- leg to step 180 ---- leg to step 360
//        \ cell of 100       \ cell of 200        \ cell of 400      (decay_fraction 0.1)
//
// A trunk has one set of hyperparameters: what the rules give for the most tokens of the size. Pure.
#pragma once

#include <string>
#include <vector>

#include "trainer/study/counts.h"
#include "trainer/study/rules.h"

namespace retain::study {

struct Run {
  std::string name = {};  ///< "4M-x20-s1", "4M-c3e15-s1"; of a leg "4M-s1-leg360"
  bool is_cell = true;    ///< else a leg of a trunk
  std::string size = {};
  std::string parent = {};  ///< the run from whose last checkpoint this one starts; "": from the beginning
  int64_t first_step = 0;   ///< the parent's last
  Config config = {};       ///< complete; run.dir is the study's cells/NAME
};

/// All runs in the order in which they are to start: sizes as in the file, a leg before what starts from it. `doubts`
/// gets what is legal and odd, a line each. Throws ConfigError(kConfig) with everything that is wrong.
std::vector<Run> make_runs(const Study& study, std::vector<std::string>& doubts);

}  // namespace retain::study
