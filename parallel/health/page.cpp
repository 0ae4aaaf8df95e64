#include "parallel/health/page.h"

#include <algorithm>
#include <tuple>

#include "kernels/core/error.h"

namespace retain {

RankPage page_of(const RankPage& rank, const Activity::View& view, int64_t idle_ms) {
  RankPage page = rank;
  page.gpu = view.gpu;
  page.step = view.step;
  page.collectives = view.collectives;
  page.idle_ms = idle_ms;
  page.layer = view.host.layer;
  page.device_layer = view.device.layer;
  page.phase = view.host.phase;
  page.device_phase = view.device.phase;
  page.waits_in = view.waits_in;
  page.waits_for_ranks = view.waits_for_ranks ? 1 : 0;
  page.patient = view.patient ? 1 : 0;
  return page;
}

std::string name_of(const RankPage& page) {
  const std::string gpu = page.gpu < 0 ? "" : concat(", GPU ", page.gpu);
  return concat("rank ", page.rank, " on ", page.host.text(), " (pid ", page.pid, gpu, ")");
}

std::string place_of(const RankPage& page) {
  const auto layer = [](int32_t at) { return at < 0 ? "" : concat(", layer ", at); };
  std::string text = page.step > 0 ? concat("step ", page.step) : "its start";
  if (const std::string phase = page.phase.text(); !phase.empty()) text += ", " + phase;
  text += layer(page.layer);
  if (const std::string in = page.waits_in.text(); !in.empty()) text += ", waiting in " + in;
  if (const std::string phase = page.device_phase.text(); !phase.empty())
    text += concat(" (its GPU in ", phase, layer(page.device_layer), ")");
  return concat(text, ", ", page.collectives, " collectives done");
}

void SubtreePage::add(const RankPage& page) { take(1, page.waits_for_ranks != 0, page.idle_ms, page); }

void SubtreePage::add(const SubtreePage& subtree) {
  if (subtree.ranks > 0) take(subtree.ranks, subtree.all_wait != 0, subtree.idle_ms, subtree.behind);
}

void SubtreePage::take(int32_t more, bool wait, int64_t idle, const RankPage& page) {
  const auto place = [](const RankPage& p) { return std::tuple(p.step, p.collectives, p.rank); };
  if (ranks == 0 || place(page) < place(behind)) behind = page;
  idle_ms = ranks == 0 ? idle : std::min(idle_ms, idle);
  all_wait = all_wait != 0 && wait ? 1 : 0;
  ranks += more;
}

}  // namespace retain
