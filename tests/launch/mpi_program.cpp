// `retain` with a verb that fails as its CONFIG says: "all" ranks alike, rank "one" while the others wait, or "none".
#include <unistd.h>

#include "kernels/core/error.h"
#include "launch/config/reader.h"
#include "launch/program.h"
#include "parallel/mpi/mpi_environment.h"

int main(int argc, char** argv) {
  using namespace retain;
  return run_program({argv + 1, argv + argc}, [](const Command& command, const MpiEnvironment* mpi) {
    const std::string mode = std::get<TrainOptions>(command).config;
    RETAIN_CHECK(mpi != nullptr, "started without a launcher");
    if (mode == "all") throw ConfigError(ErrorKind::kConfig, "run.yaml:1:1: wrong");
    if (mode == "one" && mpi->world_rank() == 1) throw Error(ErrorKind::kData, "shard 7 is damaged");
    if (mode == "one") sleep(50);
    return 0;
  });
}
