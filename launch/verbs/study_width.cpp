// retain study width: a configuration for a few steps at several widths, and whether its hyperparameters carry over.
#include <fmt/core.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "launch/preflight.h"
#include "launch/verbs/verbs.h"
#include "launch/verbs/write_figures.h"
#include "trainer/study/width_check.h"

namespace retain {
namespace {

std::vector<WidthQuantity> measure(const Config& config, int64_t steps) {
  const auto host = make_host_communicator(nullptr);
  const LocalPlace place = local_place(nullptr);
  Target target = agree_on_target(*host, config, cuda_device_count() > 0, threads_per_rank(place));
  agree_on_memory(*host, config, target, place);
  check_memory(*host, config, target, place);
  Activity activity;
  Session session(target, config.mesh(1), nullptr, make_host_communicator(nullptr), activity);
  Trainer trainer(session.backend(), session.mesh(), config, target);
  return measure_width(trainer, steps);
}

nlohmann::ordered_json to_json(const WidthCheck& check) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const WidthRow& row : check.rows) {
    rows.push_back({{"of", row.of}, {"quantity", row.name}, {"rms", row.rms}, {"exponent", row.slope}});
    if (row.is_judged) rows.back()["holds"] = row.holds;
  }
  return {{"schema", 1},  {"widths", check.widths}, {"steps", check.steps}, {"base_width", check.base_width},
          {"rows", rows}, {"holds", check.holds()}};
}

}  // namespace

int study_width(const StudyWidthOptions& o) {
  const auto host = make_host_communicator(nullptr);
  const Config config = read_config_once(*host, o.config, o.sets).config;
  std::vector<Config> configs;
  for (const int64_t width : o.widths) configs.push_back(at_width(config, width, o.steps));
  std::vector<std::vector<WidthQuantity>> measured;
  for (const Config& at : configs) {
    fmt::print(stderr, "retain study: width {}: {} heads, FFN {}\n", at.model.hidden_size, at.model.heads,
               at.model.ffn_size);
    measured.push_back(measure(at, o.steps));
  }
  const WidthCheck check = judge_widths(config, o.widths, o.steps, measured);
  if (o.json) {
    std::cout << to_json(check).dump(2) << "\n";
  } else {
    std::cout << write_width_check(check) << std::flush;
  }
  if (!o.out.empty()) write_figures({draw_width_check(check)}, o.out);
  return check.holds() ? 0 : static_cast<int>(ErrorKind::kConfig);
}

}  // namespace retain
