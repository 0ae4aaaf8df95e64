#include "trainer/plan/exchange.h"

#include <algorithm>
#include <array>
#include <set>
#include <unordered_map>
#include <utility>

namespace retain {

namespace {

constexpr std::array kAxes = {MeshAxis::kTp, MeshAxis::kCp, MeshAxis::kReplicas};

int group_size(const MeshShape& mesh, MeshAxis axis) {
  switch (axis) {
    case MeshAxis::kTp: return mesh.tp;
    case MeshAxis::kCp: return mesh.cp;
    case MeshAxis::kReplicas: return mesh.dp * mesh.cp;
  }
  return 1;
}

/// Which of the groups of an axis a rank is in.
int group_of(const MeshShape& mesh, MeshAxis axis, int rank) {
  switch (axis) {
    case MeshAxis::kTp: return rank / mesh.tp;
    case MeshAxis::kCp: return rank / (mesh.tp * mesh.cp) * mesh.tp + rank % mesh.tp;
    case MeshAxis::kReplicas: return rank % mesh.tp;
  }
  return 0;
}

/// Of every rank: how many of its group on the axis are on its machine.
std::vector<int> neighbours_of(const MeshShape& mesh, MeshAxis axis, const std::vector<int>& machine_of) {
  const auto place = [&](int rank) {
    return int64_t{group_of(mesh, axis, rank)} << 32 | machine_of[static_cast<size_t>(rank)];
  };
  std::unordered_map<int64_t, int> count;
  for (int rank = 0; rank < mesh.ranks(); ++rank) ++count[place(rank)];
  std::vector<int> neighbours;
  for (int rank = 0; rank < mesh.ranks(); ++rank) neighbours.push_back(count[place(rank)]);
  return neighbours;
}

/// Of a rank that has `here` of its group of `size` on its machine.
LinkBytes over_links(int64_t bytes, int size, int here, bool ring) {
  if (size == here) return {.inside = bytes};
  const int64_t between = ring ? bytes / here : bytes / (size - 1) * (size - here);
  return {.inside = bytes - between, .between = between};
}

}  // namespace

int64_t checked_product(std::initializer_list<int64_t> sizes) {
  int64_t product = 1;
  for (const int64_t size : sizes) {
    if (!__builtin_mul_overflow(product, size, &product)) continue;
    std::string text;
    for (const int64_t each : sizes) text += concat(text.empty() ? "" : " x ", each);
    throw ConfigError(ErrorKind::kConfig,
                      concat("this run is too large to be planned: ", text,
                             " bytes are more than 64 bits count; fewer tokens or a smaller model"));
  }
  return product;
}

std::vector<int> machines_of(int ranks, int ranks_a_machine) {
  std::vector<int> machines;
  for (int rank = 0; rank < ranks; ++rank) machines.push_back(rank / ranks_a_machine);
  return machines;
}

RankExchanges busiest_exchanges(const std::vector<Traffic>& traffic, const MeshShape& mesh, const Dealing& dealing,
                                const std::vector<int>& machine_of, bool ring) {
  RETAIN_CHECK(std::ssize(machine_of) == mesh.ranks(), machine_of.size(), " machines of ", mesh.ranks(), " ranks");
  std::array<std::vector<int>, kAxes.size()> here;  // in the order of MeshAxis
  for (size_t i = 0; i < kAxes.size(); ++i) here[i] = neighbours_of(mesh, kAxes[i], machine_of);
  // What a rank exchanges follows from its micro-batches and from its neighbours: of a million ranks few kinds differ.
  using Kind = std::array<int64_t, 1 + kAxes.size()>;
  const auto kind_of = [&](int rank) {
    Kind kind = {dealing.of(rank / (mesh.tp * mesh.cp))};
    for (size_t i = 0; i < kAxes.size(); ++i) kind[i + 1] = here[i][static_cast<size_t>(rank)];
    return kind;
  };
  const auto of_kind = [&](const Kind& kind) {
    std::vector<LinkBytes> parts;
    for (const Traffic& each : traffic) {
      const int64_t bytes = checked_product({kind[0], each.bytes_a_pass}) +
                            checked_product({dealing.rounds(), each.bytes_a_round}) + each.bytes_a_step;
      const auto neighbours = static_cast<int>(kind[1 + static_cast<size_t>(each.axis)]);
      parts.push_back(over_links(bytes, group_size(mesh, each.axis), neighbours, ring));
    }
    return parts;
  };
  // Doubles: sums of several sizes, to compare.
  const auto weight = [](const std::vector<LinkBytes>& parts) {
    double between = 0, all = 0;
    for (const LinkBytes& part : parts) {
      between += static_cast<double>(part.between);
      all += static_cast<double>(part.all());
    }
    return std::pair(between, all);
  };
  RankExchanges busiest{
      .rank = 0, .machines = std::ssize(std::set<int>(machine_of.begin(), machine_of.end())), .parts = {}};
  std::vector<LinkBytes> most = of_kind(kind_of(0));
  std::set<Kind> seen = {kind_of(0)};
  for (int rank = 1; rank < mesh.ranks(); ++rank) {
    if (!seen.insert(kind_of(rank)).second) continue;
    std::vector<LinkBytes> parts = of_kind(kind_of(rank));
    if (weight(parts) <= weight(most)) continue;
    most = std::move(parts);
    busiest.rank = rank;
  }
  for (size_t i = 0; i < traffic.size(); ++i) busiest.parts.push_back({traffic[i].name, most[i], most[i]});
  return busiest;
}

}  // namespace retain
