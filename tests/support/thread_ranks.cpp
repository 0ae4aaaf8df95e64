#include "tests/support/ranks.h"

namespace retain::test {

void on_every_group(const RankBody& body) {
  for (const int n : {1, 2, 3, 4, 7}) run_ranks(n, body);
}

}  // namespace retain::test
