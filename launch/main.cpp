// The program `retain`.
#include "launch/program.h"
#include "launch/verbs.h"

namespace retain {
namespace {

/// Calls run() of the command's verb.
struct Dispatch {
  const MpiEnvironment* mpi;
  int operator()(const ShowText&) const { return 0; }
  template <class Options>
  int operator()(const Options& options) const {
    if constexpr (kRunsOnRanks<Options>) {
      return run(options, mpi);
    } else {
      return run(options);
    }
  }
};

}  // namespace
}  // namespace retain

int main(int argc, char** argv) {
  return retain::run_program({argv + 1, argv + argc},
                             [](const retain::Command& command, const retain::MpiEnvironment* mpi) {
                               return std::visit(retain::Dispatch{mpi}, command);
                             });
}
