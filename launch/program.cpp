#include "launch/program.h"

#include <cstdio>
#include <iostream>
#include <optional>

#include "kernels/core/error.h"
#include "launch/failure.h"
#include "launch/session.h"

namespace retain {
namespace {

/// stdout may have failed long ago (a full disk); only now does anybody look.
int finish(int code) {
  std::cout.flush();
  const bool written = std::cout.good() && std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (written || code != 0) return code;
  std::fputs("retain: stdout could not be written\n", stderr);
  return static_cast<int>(ErrorKind::kIo);
}

}  // namespace

int run_program(const std::vector<std::string>& arguments, const CommandRunner& runner) {
  Command command;
  const int parsed = run_alike_before_mpi([&] {
    command = parse_command_line(arguments);
    return 0;
  });
  if (parsed != 0) return finish(parsed);
  if (const auto* show = std::get_if<ShowText>(&command)) {
    if (MpiEnvironment::first_of_launch()) std::cout << show->text;
    return finish(0);
  }
  std::optional<MpiEnvironment> mpi;  // outside of what may throw: no exception is in flight when it finalizes
  const auto run = [&] {
    const bool on_ranks = std::visit([]<class Options>(const Options&) { return kRunsOnRanks<Options>; }, command);
    if (on_ranks && MpiEnvironment::launched()) mpi.emplace();
    const MpiEnvironment* const here = mpi ? &*mpi : nullptr;
    const auto verb = [&] {
      expand_paths_once(*make_host_communicator(here), command, environment_variable);
      return runner(command, here);
    };
    return run_to_exit_code(here, verb);
  };
  return finish(run_to_exit_code(nullptr, run));
}

}  // namespace retain
