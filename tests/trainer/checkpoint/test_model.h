// A small model for checkpoint tests, cut over any mesh like the real one: rows over tp (with vocabulary padding),
// columns over tp, and replicated vectors; every value is a function of tensor, state and place, so that what a load
// gives can be judged without the save.
#pragma once

#include "kernels/core/random.h"
#include "parallel/topology.h"
#include "trainer/checkpoint/shard_file.h"

namespace retain::test {

/// Placements of one tp rank, and the padded flat size for that many replicas, in one bucket or several uneven ones.
struct TestLayout {
  std::vector<TensorPlacement> placements;
  int64_t flat_size = 0;
  std::vector<Range> buckets;

  TestLayout(const MeshShape& mesh, int tp_rank, int buckets_wanted = 1) {
    constexpr int64_t kVocab = 53, kWidth = 24;
    const auto add = [&](const std::string& name, std::vector<int64_t> shape, Box box, int64_t padding_rows,
                         bool stored) {
      placements.push_back({name, std::move(shape), box, flat_size, stored});
      flat_size = align_up(flat_size + (box.rows + padding_rows) * box.columns, 64);
    };
    const auto rows_of = [&](int64_t rows) { return even_shard(rows, tp_rank, mesh.tp); };
    const Range vocab = padded_shard(kVocab, tp_rank, mesh.tp, 8);
    const int64_t vocab_rows = padded_shard_size(kVocab, mesh.tp, 8);
    add("embeddings.weight", {kVocab, kWidth}, {vocab.begin, 0, vocab.size(), kWidth}, vocab_rows - vocab.size(), true);
    for (int layer = 0; layer < 2; ++layer) {
      const std::string prefix = "layers." + std::to_string(layer);
      const Range up = rows_of(40), down = rows_of(36);
      add(prefix + ".up.weight", {40, kWidth}, {up.begin, 0, up.size(), kWidth}, 0, true);
      add(prefix + ".down.weight", {kWidth, 36}, {0, down.begin, kWidth, down.size()}, 0, true);
    }
    add("norm.weight", {kWidth}, {0, 0, kWidth, 1}, 0, tp_rank == 0);
    const int64_t replicas = mesh.dp * mesh.cp;
    flat_size = align_up(flat_size, 64 * replicas);
    const auto bound = [&](int64_t i) {
      return flat_size / replicas * i * i / (buckets_wanted * buckets_wanted) * replicas;
    };
    for (int64_t i = 0; i < buckets_wanted; ++i) buckets.push_back({bound(i), bound(i + 1)});
  }

  ReplicaShare share(const MeshShape& mesh, int world_rank) const {
    const MeshCoordinate at = coordinate_of(mesh, world_rank);
    return replica_share(buckets, at.dp * mesh.cp + at.cp, mesh.dp * mesh.cp);
  }
  ReplicaShare whole() const { return ReplicaShare(buckets); }
};

/// The value of one element; differs between steps.
template <class T>
T test_value(const std::string& tensor, int64_t row, int64_t column, int state, int64_t step) {
  const uint64_t key = stream_key(static_cast<uint64_t>(step * kStates + state), tensor);
  return static_cast<T>(philox_normal(key, static_cast<uint64_t>(row * 1000 + column)));
}

/// The share of one rank, with its values; padding holds `padding`.
template <class T>
struct TestState {
  ReplicaShare share;
  std::vector<T> values[kStates];

  TestState(const ReplicaShare& share_in, T padding) : share(share_in) {
    for (auto& v : values) v.assign(static_cast<size_t>(share.size()), padding);
  }
  void fill(const TestLayout& layout, int64_t step) {
    for (const TensorPlacement& p : layout.placements) {
      for (int64_t r = 0; r < p.box.rows; ++r) {
        for (int64_t c = 0; c < p.box.columns; ++c) {
          const int64_t flat = p.flat_offset + r * p.box.columns + c;
          for (const SharePiece& piece : share.within({flat, flat + 1})) {
            for (int i = 0; i < kStates; ++i) {
              values[i][static_cast<size_t>(piece.offset)] =
                  test_value<T>(p.name, p.box.first_row + r, p.box.first_column + c, i, step);
            }
          }
        }
      }
    }
  }
  FlatState view() {
    const auto one = [&](int i) { return TensorView(values[i].data(), dtype_of<T>(), {share.size()}); };
    return {share, one(0), one(1), one(2)};
  }
};

inline RunState test_run_state(int64_t step, const MeshShape& mesh = {}) {
  RunState run;
  run.step = step;
  run.tokens = step * 4096;
  run.seed = 0xfedcba9876543210U;
  run.next_sample = step * 32;
  run.mesh = mesh;
  run.zero = 1;
  run.valid_loss = 2.5 + 1.0 / static_cast<double>(step + 1);
  run.build = "test";
  run.config_text = "run:\n  seed: 1\n";
  run.identity = {{"model.layers", "2"}, {"data.contents", "abc"}};
  return run;
}

}  // namespace retain::test
