// What a cluster asks of a job besides the run, in a YAML file that its users share (launch/templates/site.yaml):
//   modules: [openmpi/4.1, cuda/13]
//   environment: {NCCL_SOCKET_IFNAME: ib0}
//   container: apptainer exec --nv /sw/retain.sif     # before the program, as a shell reads it
//   program: /opt/retain/bin/retain                   # instead of the one that writes the job
//   directives: [--constraint=h200]                   # as the scheduler takes them, a line each
//   setup: [ulimit -l unlimited]                      # lines of bash before the start
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace retain {

struct Site {
  std::vector<std::string> modules;
  std::vector<std::pair<std::string, std::string>> environment;
  std::string container;  ///< "": none
  std::string program;    ///< "": the one that writes the job
  std::vector<std::string> directives, setup;
};

/// Lines of bash that come before the start: modules, environment, setup.
std::string preparations(const Site& site);

/// Throws ConfigError: kMissingInput, or kConfig with everything that is wrong.
Site read_site(const std::string& path);

/// The same of a text; `name` is shown in messages. Pure.
Site parse_site(const std::string& name, const std::string& text);

}  // namespace retain
