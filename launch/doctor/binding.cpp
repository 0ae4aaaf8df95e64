#include "launch/doctor/binding.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>

#include "kernels/core/processors.h"

namespace retain::checkup {

namespace {

constexpr const char* kGroup = "binding";
constexpr int kMostNodes = 64;

std::string first_line(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::vector<int> common(const std::vector<int>& a, const std::vector<int>& b) {
  std::vector<int> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

bool within(const std::vector<int>& inner, const std::vector<int>& outer) {
  return std::includes(outer.begin(), outer.end(), inner.begin(), inner.end());
}

int nodes_of(const BindingFacts& facts) {
  return static_cast<int>(std::count_if(facts.numa_nodes.begin(), facts.numa_nodes.end(),
                                        [&](const auto& node) { return !common(node, facts.processors).empty(); }));
}

// Whether the ranks that have no other processors than this one has are more than these.
bool shares(const BindingFacts& here, const std::vector<int>& neighbours, const ByRank<BindingFacts>& ranks) {
  const auto confined = [&](int other) {
    return ranks.contains(other) && within(ranks.at(other).processors, here.processors);
  };
  return std::count_if(neighbours.begin(), neighbours.end(), confined) > std::ssize(here.processors);
}

void judge_machine(Check& check, const std::vector<int>& neighbours, const ByRank<BindingFacts>& ranks) {
  for (const int rank : neighbours) {
    if (!ranks.contains(rank) || ranks.at(rank).processors.empty()) continue;
    const BindingFacts& here = ranks.at(rank);
    const int count = static_cast<int>(here.processors.size());
    if (shares(here, neighbours, ranks)) {
      if (std::ssize(neighbours) > here.machine_processors)
        check.amiss(rank, Verdict::kWarn,
                    fmt::format("{} ranks on {} processors", neighbours.size(), here.machine_processors),
                    "start fewer ranks a machine");
      else
        check.amiss(rank, Verdict::kWarn, fmt::format("shares processor {} with other ranks", ranges(here.processors)),
                    "mpirun --bind-to none or --map-by ppr:N:numa:pe=M; srun --cpus-per-task=M");
    } else if (here.threads > count) {
      check.amiss(rank, Verdict::kWarn, fmt::format("{} threads on {} processors", here.threads, count),
                  "mpirun --map-by ppr:N:node:pe=M or --bind-to none; srun --cpus-per-task=M");
    }
    if (!here.gpu_processors.empty() && common(here.gpu_processors, here.processors).empty()) {
      check.amiss(rank, Verdict::kWarn,
                  fmt::format("runs on processors {}, its GPU is beside {}", ranges(here.processors),
                              ranges(here.gpu_processors)),
                  "mpirun --map-by ppr:N:numa --bind-to numa; srun --gpu-bind=closest --accel-bind=g");
    } else if (neighbours.size() > 1 && nodes_of(here) > 1) {
      check.amiss(rank, Verdict::kWarn, "may wander between NUMA nodes, away from its memory",
                  "where one job has the machine: mpirun --map-by ppr:N:numa --bind-to numa", nodes_of(here), "nodes");
    }
  }
}

}  // namespace

std::vector<int> read_processor_list(const std::string& text) {
  std::vector<int> processors;
  std::istringstream pieces(text);
  for (std::string piece; std::getline(pieces, piece, ',');) {
    while (!piece.empty() && std::isspace(static_cast<unsigned char>(piece.back()))) piece.pop_back();
    int first = 0, last = 0;
    const char* const end = piece.data() + piece.size();
    auto [at, error] = std::from_chars(piece.data(), end, first);
    if (error != std::errc{}) return {};
    last = first;
    if (at != end && *at == '-') {
      const auto range = std::from_chars(at + 1, end, last);
      if (range.ec != std::errc{}) return {};
      at = range.ptr;
    }
    if (at != end || last < first || last > 1'000'000) return {};
    for (int processor = first; processor <= last; ++processor) processors.push_back(processor);
  }
  return processors;
}

BindingFacts probe_binding(int threads, const std::string& bus_id, const std::filesystem::path& root) {
  BindingFacts facts;
  facts.machine_processors = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  facts.threads = threads;
  const ProcessorSet own = own_processors();
  for (size_t processor = 0; processor < own.size() * 64; ++processor) {
    if (own[processor / 64] >> (processor % 64) & 1) facts.processors.push_back(static_cast<int>(processor));
  }
  for (int node = 0; node < kMostNodes; ++node) {
    const auto folder = root / "sys/devices/system/node" / fmt::format("node{}", node);
    if (!std::filesystem::exists(folder)) break;
    facts.numa_nodes.push_back(read_processor_list(first_line(folder / "cpulist")));
  }
  std::string device = bus_id;
  for (char& c : device) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (!device.empty())
    facts.gpu_processors = read_processor_list(first_line(root / "sys/bus/pci/devices" / device / "local_cpulist"));
  return facts;
}

Findings judge_binding(const ByRank<BindingFacts>& ranks, const Hosts& hosts) {
  Check check(kGroup, "processors");
  for (const auto& [host, neighbours] : hosts.machines()) judge_machine(check, neighbours, ranks);
  ByRank<double> counts, threads;
  for (const auto& [rank, facts] : ranks) {
    counts[rank] = static_cast<double>(facts.processors.size());
    threads[rank] = facts.threads;
  }
  return check.findings(hosts, fmt::format("{} a rank, for {}", describe_range(counts, "processors"),
                                           describe_range(threads, "threads")));
}

}  // namespace retain::checkup
