// The saves of a run: begun beside the step that follows, and what becomes of them.
#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <optional>
#include <string>

#include "trainer/run/training_run.h"

namespace retain {
namespace {

using Clock = std::chrono::steady_clock;

// A save for which the run waits longer is told of, and again whenever that has doubled.
constexpr double kSlowSaveSeconds = 10;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

}  // namespace

void TrainingRun::begin_save(bool needed) {
  if (saved_step_ == step_) return;
  settle_save(true, false);
  const LongWork saves(trainer_.backend().activity(), "beginning a checkpoint");
  const ProgressBar::Work shown(progress_, {.what = "saving"});
  const auto begin = Clock::now();
  host_state_.begin_copy();
  RunState state;
  state.step = step_;
  state.tokens = progress(step_).tokens;
  state.seed = config_.run.seed;
  state.next_sample = progress(step_).samples;
  state.mesh = mesh_.shape();
  state.zero = config_.parallel.zero;
  state.numerics = guard_.to_text();
  state.valid_loss = valid_loss_;
  state.validation_due = validation_due_;
  state.data_order = static_cast<int>(trainer_.loader().order());
  state.build = identity_.build;
  state.config_text = identity_.resolved_config;
  state.identity = kept_values(identity_.keys);
  state.resumed_from = resumed_from_;
  FlatState flat = host_state_.flat();
  flat.digests = trainer_.state_digest().compute();
  writer_.begin(state, placements_of(trainer_.parameters().layout(), mesh_.at().tp), flat, [this] {
    host_state_.wait();
    log_.files().flush(kPatienceWithReports);  // a step that is on disk has its records there
  });
  saved_step_ = step_;
  stall_seconds_ = seconds_since(begin);
  if (!config_.checkpoint.async) settle_save(true, needed);
}

void TrainingRun::finish_last_save() {
  settle_save(true, true);
  RETAIN_CHECK(saved_step_ == step_ && !writer_.in_flight(), "the run ends after step ", step_, " and has saved step ",
               saved_step_);
}

void TrainingRun::settle_save(bool wait, bool needed) {
  const auto begin = Clock::now();
  double next_word = kSlowSaveSeconds;
  const auto tell_slow = [&](double seconds) {
    if (seconds < next_word) return;
    log_.warn("a save has taken ", std::lround(seconds), " s so far, and the run waits for it");
    next_word = 2 * seconds;
  };
  const auto finish = [&] {
    const ProgressBar::Work shown(progress_, {.what = "saving"});
    return writer_.finish(tell_slow);
  };
  const std::optional<SaveResult> result = wait ? finish() : writer_.poll();
  stall_seconds_ += seconds_since(begin);
  if (!result) return;
  for (const std::string& line : result->deleted) log_.info(line);
  if (!result->committed) {
    event("save_failed", {{"reason", result->message}}, result->step);
    writer_.check_lock();  // whoever lost the run to another job has no business going on
    saved_step_ = -1;
    // A device that cannot be copied from cannot be trained on.
    if (needed || config_.checkpoint.on_error == OnSaveError::kStop || result->kind == ErrorKind::kDevice) {
      // 73 is for a run that could not begin: a folder that cannot be made now is a failed save like others.
      throw SharedError(result->kind == ErrorKind::kCannotCreate ? ErrorKind::kIo : result->kind,
                        "the run ends because a checkpoint could not be saved: " + result->message);
    }
    log_.error(result->message, "; training goes on");
    return;
  }
  guard_.committed(result->step);
  newest_checkpoint_ = result->path.string();
  if (wall_time_) wall_time_->save_took(result->seconds);
  if (!result->message.empty()) log_.warn(result->message);
  log_.info("committed step ", result->step, " (", result->bytes, " bytes in ", fmt::format("{:.2f}", result->seconds),
            " s)");
  event("checkpoint",
        {{"bytes", std::to_string(result->bytes)},
         {"seconds", fmt::format("{:.6f}", result->seconds)},
         {"copy_seconds", fmt::format("{:.6f}", host_state_.wait())},
         {"stall_seconds", fmt::format("{:.6f}", stall_seconds_)}},
        result->step);
}

}  // namespace retain
