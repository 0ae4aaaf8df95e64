#include "parallel/mpi/mpi_environment.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>

#include "kernels/core/error.h"
#include "kernels/core/processors.h"
#include "parallel/mpi/mpi_check.h"

/// What Open MPI's MPI_Abort calls after it has printed seven lines of its own: we have said why the job ends. Null in
/// other MPIs.
extern "C" int ompi_mpi_abort(MPI_Comm comm, int exit_code) __attribute__((weak));

namespace retain {

void fail_mpi(const SourceLine& where, int result, const char* call) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  if (MPI_Error_string(result, text.data(), &length) != MPI_SUCCESS) length = 0;
  throw CommunicationError(concat(
      where, ": ", call, " failed: ", std::string(text.data(), static_cast<std::size_t>(length)), " (", result, ")"));
}

MpiEnvironment::MpiEnvironment() : uncaught_(std::uncaught_exceptions()) {
  int provided = MPI_THREAD_SINGLE;
  MPI_CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided));
  // By default MPI ends the job at an error; we want the exception, and its message.
  MPI_CHECK(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  MPI_CHECK(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN));
  if (provided < MPI_THREAD_FUNNELED) {
    throw Error(ErrorKind::kDevice, "this MPI library does not support threads (MPI_THREAD_FUNNELED)");
  }
  MPI_CHECK(MPI_Comm_rank(MPI_COMM_WORLD, &world_rank_));
  MPI_CHECK(MPI_Comm_size(MPI_COMM_WORLD, &world_size_));

  MPI_Comm node = MPI_COMM_NULL;
  MPI_CHECK(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world_rank_, MPI_INFO_NULL, &node));
  MPI_CHECK(MPI_Comm_set_errhandler(node, MPI_ERRORS_RETURN));
  MPI_CHECK(MPI_Comm_rank(node, &local_rank_));
  MPI_CHECK(MPI_Comm_size(node, &local_size_));
  ProcessorSet processors = own_processors();
  MPI_CHECK(
      MPI_Allreduce(MPI_IN_PLACE, processors.data(), static_cast<int>(processors.size()), MPI_UINT64_T, MPI_BOR, node));
  host_processors_ = std::max(1, count(processors));
  // Ranks of the same machine are neighbours: the first of each gives them their place.
  int first = world_rank_;
  MPI_CHECK(MPI_Bcast(&first, 1, MPI_INT, 0, node));
  MPI_Comm by_machine = MPI_COMM_NULL;
  MPI_CHECK(MPI_Comm_split(MPI_COMM_WORLD, 0, first, &by_machine));
  MPI_CHECK(MPI_Comm_rank(by_machine, &world_rank_));
  MPI_CHECK(MPI_Comm_free(&by_machine));
  MPI_CHECK(MPI_Comm_free(&node));

  std::array<char, MPI_MAX_PROCESSOR_NAME> name{};
  int length = 0;
  MPI_CHECK(MPI_Get_processor_name(name.data(), &length));
  host_.assign(name.data(), static_cast<std::size_t>(length));
  ready_ = std::chrono::steady_clock::now();
}

std::string MpiEnvironment::library() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_CHECK(MPI_Get_library_version(text.data(), &length));
  const std::string all(text.data(), static_cast<std::size_t>(length));
  return all.substr(0, all.find('\n'));
}

MpiEnvironment::~MpiEnvironment() {
  if (std::uncaught_exceptions() > uncaught_) return;
  MPI_Finalize();
}

void MpiEnvironment::abort(int exit_code) noexcept {
  int initialized = 0, finalized = 0;
  if (MPI_Initialized(&initialized) == MPI_SUCCESS && MPI_Finalized(&finalized) == MPI_SUCCESS && initialized &&
      !finalized) {
    if (ompi_mpi_abort) ompi_mpi_abort(MPI_COMM_WORLD, exit_code);
    MPI_Abort(MPI_COMM_WORLD, exit_code);
  }
  std::_Exit(exit_code);
}

}  // namespace retain
