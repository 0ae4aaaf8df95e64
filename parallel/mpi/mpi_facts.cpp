#include "parallel/mpi/mpi_facts.h"

#include <array>
#include <cstddef>

#include "parallel/mpi/mpi_check.h"

namespace retain {

std::string mpi_library() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_CHECK(MPI_Get_library_version(text.data(), &length));
  const std::string all(text.data(), static_cast<std::size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));  // who built it, and when, follows
}

std::string mpi_thread_level() {
  int initialized = 0, level = MPI_THREAD_SINGLE;
  MPI_CHECK(MPI_Initialized(&initialized));
  if (!initialized) return "";
  MPI_CHECK(MPI_Query_thread(&level));
  switch (level) {
    case MPI_THREAD_FUNNELED: return "funneled";
    case MPI_THREAD_SERIALIZED: return "serialized";
    case MPI_THREAD_MULTIPLE: return "multiple";
    default: return "single";
  }
}

}  // namespace retain
