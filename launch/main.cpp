// The program `retain`.
#include "launch/program.h"
#include "launch/verbs.h"

namespace retain {
namespace {

/// Calls run() of the command's verb.
struct Dispatch {
  const MpiEnvironment* mpi;
  int operator()(const ShowText&) const { return 0; }
  int operator()(const TrainOptions& options) const { return run(options, mpi); }
  template <class Options>
  int operator()(const Options& options) const {
    return run(options);
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
