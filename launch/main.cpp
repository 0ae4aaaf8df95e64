// The program `retain`.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "launch/program.h"
#include "launch/signals.h"
#include "launch/verbs/verbs.h"
#include "parallel/mpi/launch.h"

namespace retain {
namespace {

/// A stream that the caller closed is opened to nothing: else the next file to be opened would get what is printed.
void keep_standard_streams() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) == -1 && open("/dev/null", O_RDWR) != descriptor) std::abort();
  }
}

}  // namespace
}  // namespace retain

int main(int argc, char** argv) {
  retain::SignalWishes signals;  // first of all: what is wished before the run is there is granted when it is
  retain::keep_standard_streams();
  const int code = retain::run_program(
      {argv + 1, argv + argc},
      [&](const retain::Command& command, const retain::MpiEnvironment* mpi) {
        if (!std::holds_alternative<retain::TrainOptions>(command)) signals.give_up();
        return std::visit(retain::VerbCalls{mpi, signals}, command);
      },
      retain::find_launch(std::getenv, retain::mpi_family()));
  // After an error nothing is left to be said, and what libraries do at an exit may hang where memory has run out.
  if (code != 0) std::_Exit(code);
  return code;
}
