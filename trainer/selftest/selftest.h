// Composed parallelism proven on the machine at hand: a tiny model is trained in every layout with every feature and
// followed beside one rank that has none of them. What differs by more than rounding is a fault: of the program, the
// compiler, a library, or the links.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "trainer/selftest/tiny_run.h"

namespace retain {

/// A way to train the same model on the same batches.
struct SelftestCase {
  MeshShape mesh;
  DType compute = DType::kFloat32;
  bool documents = false;     ///< the state is reset at their borders
  bool tied = false;          ///< one matrix looks up and predicts
  bool accumulation = false;  ///< a sequence a micro-batch, instead of as few micro-batches as the layout allows
  int zero = 0;
  Recompute recompute = Recompute::kNone;

  /// "dp=2 cp=1 tp=1 bf16 documents accumulation zero=1 recompute=full"
  std::string describe() const;
};

/// How far from one rank a case was: the worst of all steps and of all parameters. Limits: 1e-8 in fp64; 1e-5 in fp32,
/// ten times that for gradients (the head norm takes away what q·k of a document's first token has to say, so what
/// remains of its gradient is rounding); 2e-2 in bf16, where rounding changes the sign of such q·k, and for all
/// gradients as one 0.5: two fp32 runs whose tp exchanges alone are rounded to bf16 differ as much.
struct SelftestResult {
  SelftestCase what;
  double loss_difference = 0;      ///< |loss - one rank's| / one rank's
  double gradient_difference = 0;  ///< |gradient - one rank's|₂ / |one rank's|₂ of the first step
  double loss_limit = 0, gradient_limit = 0;

  bool passed() const { return loss_difference <= loss_limit && gradient_difference <= gradient_limit; }
};

enum class SelftestExtent : uint8_t {
  kPairs,  ///< every pair of values of two features, the layout being one, in some case
  kAll     ///< every combination
};

/// The legal cases of up to so many ranks on a device, those of one layout together.
std::vector<SelftestCase> selftest_cases(int ranks, DeviceKind device, SelftestExtent extent);

/// Where and how the ranks of a self-test work.
struct SelftestRanks {
  Communicator& world;  ///< over host memory
  Backend& backend;     ///< of this rank
  DeviceKind device = DeviceKind::kCpu;
  /// Of a group of ranks makes what gives its parts that move the backend's tensors (see Mesh).
  std::function<MakeTensorGroup(Communicator& group)> groups = [](Communicator&) { return same_group; };
};

/// Runs the cases one after the other, `steps` steps each, over as many of the ranks as each needs; `directory` is of
/// this rank alone. Collective over the world. `report` is called for each case on rank 0. Gives how many cases failed,
/// on every rank.
int run_selftest(const SelftestRanks& ranks, const std::vector<SelftestCase>& cases, int steps,
                 const std::string& directory, const std::function<void(const SelftestResult&)>& report);

}  // namespace retain
