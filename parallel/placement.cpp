#include "parallel/placement.h"

#include <algorithm>
#include <numeric>

#include "kernels/core/error.h"

namespace retain {

namespace {

constexpr size_t kMostListed = 16;  // machines

std::string describe(const MeshShape& shape, const Machine& machine) {
  std::vector<int> dp, cp, tp;
  for (const int rank : machine.ranks) {
    const MeshCoordinate at = coordinate_of(shape, rank);
    dp.push_back(at.dp);
    cp.push_back(at.cp);
    tp.push_back(at.tp);
  }
  std::string text = concat(machine.host, ": ranks ", ranges(machine.ranks), ": dp ", ranges(dp));
  if (shape.cp > 1) text += concat(", cp ", ranges(cp));
  if (shape.tp > 1) text += concat(", tp ", ranges(tp));
  if (!machine.gpus.empty() && std::ranges::min(machine.gpus) >= 0)
    text += concat(machine.gpus.size() == 1 ? ", GPU " : ", GPUs ", ranges(machine.gpus));
  return text;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i)
    text += concat(i == 0 ? "" : i + 1 == words.size() ? " and " : ", ", words[i]);
  return text;
}

}  // namespace

std::string ranges(std::vector<int> numbers) {
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  std::string text;
  for (size_t begin = 0, end = 0; begin < numbers.size(); begin = end) {
    for (end = begin + 1; end < numbers.size() && numbers[end] == numbers[end - 1] + 1;) ++end;
    text += concat(begin == 0 ? "" : ", ", numbers[begin]);
    if (end - begin > 1) text += concat("-", numbers[end - 1]);
  }
  return text;
}

Placement place_ranks(const MeshShape& shape, const std::vector<std::string>& hosts, const std::vector<int>& gpus) {
  RETAIN_CHECK(std::ssize(hosts) == shape.ranks(), hosts.size(), " hosts for ", shape.describe());
  Placement placement{.shape = shape};
  for (int rank = 0; rank < shape.ranks(); ++rank) {
    const std::string& host = hosts[static_cast<size_t>(rank)];
    auto known = std::find_if(placement.machines.begin(), placement.machines.end(),
                              [&](const Machine& machine) { return machine.host == host; });
    if (known == placement.machines.end()) known = placement.machines.insert(known, {.host = host, .ranks = {}});
    known->ranks.push_back(rank);
    if (!gpus.empty()) known->gpus.push_back(gpus[static_cast<size_t>(rank)]);
    // Of each group of an axis, its first rank has coordinate 0 there.
    const MeshCoordinate at = coordinate_of(shape, rank);
    const auto differs = [&](int steps) { return hosts[static_cast<size_t>(rank - steps)] != host; };
    placement.tp_crosses |= differs(at.tp);
    placement.cp_crosses |= differs(at.cp * shape.tp);
    placement.dp_crosses |= differs(at.dp * shape.cp * shape.tp);
  }
  return placement;
}

std::vector<std::string> Placement::describe() const {
  std::vector<std::string> within, between;
  const auto axis = [&](const char* name, int ranks, bool crosses) {
    if (ranks > 1) (crosses ? between : within).emplace_back(name);
  };
  axis("tp", shape.tp, tp_crosses);
  axis("cp", shape.cp, cp_crosses);
  axis("dp", shape.dp, dp_crosses);
  std::string first = concat("ranks on ", machines.size(), machines.size() == 1 ? " machine" : " machines");
  if (!within.empty()) first += concat("; within a machine: ", joined(within));
  if (!between.empty()) first += concat("; between machines: ", joined(between));
  std::vector<std::string> lines = {first};
  for (size_t i = 0; i < machines.size() && i < kMostListed; ++i) lines.push_back(retain::describe(shape, machines[i]));
  if (machines.size() > kMostListed) lines.push_back(concat("and ", machines.size() - kMostListed, " machines more"));
  return lines;
}

std::string Placement::warning(int64_t tp_divides) const {
  if (!tp_crosses) return "";
  int64_t fits = tp_divides;  // what divides this divides the heads, the FFN and the ranks of every machine
  for (const Machine& machine : machines) fits = std::gcd(fits, std::ssize(machine.ranks));
  int64_t best = 1;
  for (int64_t tp = 2; tp < shape.tp; ++tp) {
    if (fits % tp == 0) best = tp;
  }
  return concat("groups of parallel.tp = ", shape.tp, " ranks are cut between machines, and exchange activations ",
                "several times a layer over what joins these; parallel.tp: ", best, " would keep each on one machine, ",
                "as would a multiple of ", shape.tp, " ranks on every machine");
}

}  // namespace retain
