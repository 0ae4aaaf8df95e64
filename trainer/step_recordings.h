// A step of a small model is bound by its launches. Its parts queue the same operations on the same memory in every
// step, so that a device that can (a GPU, by CUDA graphs) records them and queues each as one.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include "kernels/backend.h"
#include "trainer/config.h"

namespace retain {

/// Whether the steps of such a run are to be recorded: where one rank does them alone, and, if the configuration leaves
/// it open, a micro-batch is so little work that launches may take longer.
bool records_steps(const Config& config, int ranks);

class StepRecordings {
 public:
  /// What is queued alike whenever it is: gradients of a micro-batch, the first of a step, which replaces those that
  /// are there, or another one, without a document's border inside and with; the norm of the gradient; the update.
  enum Part : uint8_t { kFirst, kFirstDocuments, kMore, kMoreDocuments, kNorm, kUpdate, kParts };
  static Part micro_batch(bool first, bool documents) {
    constexpr std::array<Part, 4> kVariants = {kMore, kMoreDocuments, kFirst, kFirstDocuments};
    return kVariants[(first ? 2 : 0) + (documents ? 1 : 0)];
  }

  /// The backend outlives it.
  StepRecordings(Backend& backend, bool records) : backend_(backend), records_(records) {}

  /// Queues `work`, which must be the same in every call for a part: the first time as ever, so that the backend learns
  /// what there is to learn; the second time it is recorded; from then on it is not called, and false is the answer.
  bool queue(Part part, const std::function<void()>& work);

 private:
  struct State {
    bool known = false;  ///< was queued once
    std::unique_ptr<Recording> recording;
  };
  Backend& backend_;
  bool records_;
  std::array<State, kParts> parts_;
};

}  // namespace retain
