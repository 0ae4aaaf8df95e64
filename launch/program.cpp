#include "launch/program.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <optional>

#include "kernels/core/error.h"
#include "launch/failure.h"
#include "launch/host_memory.h"
#include "launch/session.h"
#include "launch/version.h"
#include "parallel/agreement.h"
#include "parallel/host_name.h"

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

/// N processes that know nothing of each other, or a verb that is one process's, would do the same thing N times.
void refuse_copies(const Launch& launch, bool on_ranks, const std::string& verb) {
  if (launch.split()) throw Error(ErrorKind::kDevice, launch.describe_split());
  if (on_ranks || launch.ranks <= 1) return;
  throw Error(ErrorKind::kUsage, concat("'", verb, "' works in one process, and ", launch.launcher, " started ",
                                        launch.ranks, ": start it alone, outside of ", launch.launcher));
}

/// What is to be the same on every rank: the program and its arguments, those of --set by their keys.
Facts facts_of(const std::vector<std::string>& arguments) {
  Facts facts = {{"build", concat(version(), " ", commit(), " ", build_id())}};
  int others = 0;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const bool joined = arguments[i].starts_with("--set=");
    if (!joined && (arguments[i] != "--set" || i + 1 == arguments.size())) {
      facts[concat("argument ", ++others)] = arguments[i];
      continue;
    }
    const std::string set = joined ? arguments[i].substr(std::strlen("--set=")) : arguments[++i];
    const size_t equals = std::min(set.find('='), set.size());
    facts[set.substr(0, equals)] = set.substr(std::min(equals + 1, set.size()));
  }
  return facts;
}

}  // namespace

int run_program(const std::vector<std::string>& arguments, const CommandRunner& runner, const Launch& launch) {
  Command command;
  bool on_ranks = false;
  const int begun = run_alike_before_mpi(launch, [&] {
    check_stack_limit();
    command = parse_command_line(arguments);
    on_ranks = std::visit([]<class Options>(const Options&) { return kRunsOnRanks<Options>; }, command);
    if (!std::holds_alternative<ShowText>(command)) refuse_copies(launch, on_ranks, arguments.front());
    return 0;
  });
  if (begun != 0) return finish(begun);
  if (const auto* show = std::get_if<ShowText>(&command)) {
    if (launch.rank == 0) std::cout << show->text;
    return finish(0);
  }
  std::optional<MpiEnvironment> mpi;  // outside of what may throw: no exception is in flight when it finalizes
  const auto run = [&] {
    if (on_ranks && launch.in_mpi) mpi.emplace();
    if (mpi && mpi->world_size() == 1 && launch.ranks > 1) throw Error(ErrorKind::kDevice, launch.describe_split());
    const MpiEnvironment* const here = mpi ? &*mpi : nullptr;
    const auto verb = [&] {
      const std::unique_ptr<Communicator> host = make_host_communicator(here);
      agree_on_facts(*host, facts_of(arguments), host_name());
      expand_paths_once(*host, command, environment_variable);
      return runner(command, here);
    };
    return run_to_exit_code(here, verb);
  };
  return finish(run_to_exit_code(nullptr, run));
}

}  // namespace retain
