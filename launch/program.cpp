#include "launch/program.h"

#include <cstdio>
#include <iostream>
#include <new>
#include <optional>

#include "kernels/core/error.h"
#include "launch/config/reader.h"
#include "launch/session.h"
#include "parallel/mpi/mpi_environment.h"

namespace retain {
namespace {

/// One write, so that messages of several ranks do not mix.
void print_error(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stderr); }

/// stdout may have failed long ago (a full disk); only now does anybody look.
int finish(int code) {
  std::cout.flush();
  const bool written = std::cout.good() && std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (written || code != 0) return code;
  print_error("retain: stdout could not be written\n");
  return static_cast<int>(ErrorKind::kIo);
}

int fail(const MpiEnvironment* mpi, int code, const std::string& message) {
  const bool alone = !mpi || mpi->world_size() == 1;
  const std::string who = alone ? "" : concat("rank ", mpi->world_rank(), " ", mpi->host(), ": ");
  print_error("retain: " + who + message + "\n");
  if (!alone) MpiEnvironment::abort(code);
  return code;
}

/// What all ranks found alike.
int fail_together(const MpiEnvironment* mpi, const Error& error) {
  const char* who = error.kind() == ErrorKind::kConfig ? "" : "retain: ";  // file:line:column begins its line
  if (!mpi || mpi->world_rank() == 0) print_error(concat(who, error.what(), "\n"));
  return error.exit_code();
}

}  // namespace

int run_program(const std::vector<std::string>& arguments, const CommandRunner& runner) {
  std::optional<MpiEnvironment> mpi;  // outside of try: no exception is in flight when it finalizes
  const auto here = [&]() -> const MpiEnvironment* { return mpi ? &*mpi : nullptr; };
  try {
    Command command = parse_command_line(arguments);
    if (const auto* show = std::get_if<ShowText>(&command)) {
      std::cout << show->text;
      return finish(0);
    }
    const bool on_ranks = std::visit([]<class Options>(const Options&) { return kRunsOnRanks<Options>; }, command);
    if (on_ranks && MpiEnvironment::launched()) mpi.emplace();
    expand_paths_once(*make_host_communicator(here()), command, environment_variable);
    return finish(runner(command, here()));
  } catch (const ConfigError& error) {
    return fail_together(here(), error);
  } catch (const Error& error) {
    return fail(here(), error.exit_code(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(here(), static_cast<int>(ErrorKind::kOutOfMemory), "out of memory on the host");
  } catch (const std::exception& error) {
    return fail(here(), static_cast<int>(ErrorKind::kInternal), error.what());
  }
}

}  // namespace retain
