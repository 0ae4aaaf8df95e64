#include "trainer/model/mixer.h"

#include "trainer/model/retention.h"

namespace retain {

std::unique_ptr<Mixer> make_mixer(const Declarations& declare, const ModelConfig& model, int64_t layer,
                                  const RetentionTables& tables) {
  return std::make_unique<RetentionLayer>(declare, model, layer, tables);
}

}  // namespace retain
