// Preloaded into a program of MPI, it counts what this rank asks of MPI over groups that span all ranks, and writes
// that to MESSAGE_COUNTS.RANK when MPI ends, as "name number" lines. Tensors go over smaller groups where tp > 1.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

namespace {

enum What : uint8_t { kSends, kBroadcasts, kReductions, kBarriers, kGathers, kGroups, kWhats };
constexpr std::array<const char*, kWhats> kNames = {"sends",    "broadcasts", "reductions",
                                                    "barriers", "gathers",    "groups"};

// A preloaded library has no main that could own it.
std::array<int64_t, kWhats> counts{};

void count(What what, MPI_Comm group) {
  int ranks = 0, all = 0;
  PMPI_Comm_size(group, &ranks);
  PMPI_Comm_size(MPI_COMM_WORLD, &all);
  if (ranks == all) ++counts[what];
}

}  // namespace

extern "C" {

int MPI_Isend(const void* data, int n, MPI_Datatype type, int to, int tag, MPI_Comm group, MPI_Request* request) {
  count(kSends, group);
  return PMPI_Isend(data, n, type, to, tag, group, request);
}
int MPI_Ibcast(void* data, int n, MPI_Datatype type, int root, MPI_Comm group, MPI_Request* request) {
  count(kBroadcasts, group);
  return PMPI_Ibcast(data, n, type, root, group, request);
}
int MPI_Iallreduce(const void* in, void* out, int n, MPI_Datatype type, MPI_Op op, MPI_Comm group,
                   MPI_Request* request) {
  count(kReductions, group);
  return PMPI_Iallreduce(in, out, n, type, op, group, request);
}
int MPI_Ibarrier(MPI_Comm group, MPI_Request* request) {
  count(kBarriers, group);
  return PMPI_Ibarrier(group, request);
}
int MPI_Iallgather(const void* in, int n, MPI_Datatype type, void* out, int out_n, MPI_Datatype out_type,
                   MPI_Comm group, MPI_Request* request) {
  count(kGathers, group);
  return PMPI_Iallgather(in, n, type, out, out_n, out_type, group, request);
}
int MPI_Comm_split(MPI_Comm group, int color, int key, MPI_Comm* part) {
  count(kGroups, group);
  return PMPI_Comm_split(group, color, key, part);
}
int MPI_Comm_split_type(MPI_Comm group, int type, int key, MPI_Info info, MPI_Comm* part) {
  count(kGroups, group);
  return PMPI_Comm_split_type(group, type, key, info, part);
}
int MPI_Comm_dup(MPI_Comm group, MPI_Comm* copy) {
  count(kGroups, group);
  return PMPI_Comm_dup(group, copy);
}
int MPI_Finalize() {
  int rank = 0;
  PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const char* const prefix = std::getenv("MESSAGE_COUNTS");
  if (std::FILE* file =
          prefix ? std::fopen((std::string(prefix) + "." + std::to_string(rank)).c_str(), "w") : nullptr) {
    for (size_t i = 0; i < kWhats; ++i) std::fprintf(file, "%s %lld\n", kNames[i], static_cast<long long>(counts[i]));
    std::fclose(file);
  }
  return PMPI_Finalize();
}

}  // extern "C"
