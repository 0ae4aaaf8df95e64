#include "trainer/study/shapes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/trainer/study/small_study.h"
#include "trainer/model/parameter_layout.h"

namespace retain::test {
namespace {

using study::shape_of;
using study::Study;
using ::testing::HasSubstr;

Study gpu_study(int tp) {
  Study s = small_study();
  s.base.device = DeviceKind::kCuda;
  s.base.parallel.tp = tp;
  return s;
}

int64_t counted(const ModelConfig& model, const Study& s) { return study::count(model).of(s.count); }

TEST(StudyShapes, CountsArePartsOfEachOther) {
  ModelConfig model = small_study().base.model;
  model.layers = 3;
  model.hidden_size = 64;
  model.heads = 4;
  model.ffn_size = 96;
  const study::Counts counts = study::count(model);
  EXPECT_EQ(counts.all, count_parameters(model).all);
  EXPECT_EQ(counts.all - counts.non_embedding, 257 * 64);
  EXPECT_EQ(counts.non_embedding - counts.blocks, 257 * 64 + 64);  // the head and the final norm
  model.tie_embeddings = true;                                     // the one matrix is the head's
  EXPECT_EQ(study::count(model).non_embedding, counts.non_embedding);
  EXPECT_EQ(study::count(model).all, counts.non_embedding);
}

// Over three decades, on both devices and several layouts: legal, near, and no wider than tall.
TEST(StudyShapes, EverySizeBecomesALegalShapeNearIt) {
  for (const bool gpu : {false, true}) {
    for (const int tp : {1, 2, 4}) {
      Study s = gpu ? gpu_study(tp) : small_study();
      s.base.parallel.tp = tp;
      for (int64_t asked = gpu ? 4'000'000 : 300'000; asked < 2'000'000'000; asked = asked * 17 / 10) {
        const ModelConfig model = shape_of({.name = "x", .parameters = asked}, s);
        ASSERT_TRUE(validate(model).empty()) << asked;
        ASSERT_EQ(model.hidden_size % (gpu ? 64 : 16), 0);
        ASSERT_EQ(model.ffn_size % (gpu ? 64 : 16), 0);
        ASSERT_EQ(model.heads % tp, 0);
        ASSERT_GE(model.heads, 2);
        ASSERT_EQ(model.key_dim() % 8, 0);
        if (gpu) {
          ASSERT_THAT(model.key_dim(), ::testing::AnyOf(64, 128, 256));
        }
        ASSERT_NEAR(std::log(static_cast<double>(counted(model, s)) / static_cast<double>(asked)), 0, 0.12) << asked;
      }
    }
  }
}

TEST(StudyShapes, HeadsAreThoseThatKernelsAreMadeFor) {
  const Study s = gpu_study(1);
  const auto heads_of = [&](int64_t width) {
    const ModelConfig model = shape_of({.name = "x", .layers = 2, .hidden_size = width}, s);
    return std::pair(model.heads, model.key_dim());
  };
  EXPECT_EQ(heads_of(128), std::pair(int64_t{2}, int64_t{64}));
  EXPECT_EQ(heads_of(256), std::pair(int64_t{4}, int64_t{64}));
  EXPECT_EQ(heads_of(768), std::pair(int64_t{6}, int64_t{128}));   // as configs/retnet_125m.yaml
  EXPECT_EQ(heads_of(1024), std::pair(int64_t{4}, int64_t{256}));  // as configs/retnet_350m.yaml
}

TEST(StudyShapes, GivenWidthsWin) {
  Study s = small_study();
  const ModelConfig model = shape_of(s.sizes[0], s);
  EXPECT_EQ(model.layers, 2);
  EXPECT_EQ(model.heads, 4);
  EXPECT_EQ(model.ffn_size, 48);
  s.shapes.ffn_ratio = 2;
  EXPECT_EQ(shape_of({.name = "x", .layers = 1, .hidden_size = 64}, s).ffn_size, 128);
}

TEST(StudyShapes, WhatNoShapeComesNearIsRefusedWithTheNearest) {
  const auto complaint = [](const study::Size& size, const Study& s) {
    try {
      shape_of(size, s);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(complaint({.name = "x", .parameters = 1000}, small_study()),
              HasSubstr("no legal shape has about 1k parameters (nearest: "));
  Study odd = small_study();
  odd.base.parallel.tp = 7;
  EXPECT_THAT(complaint({.name = "x", .layers = 2, .hidden_size = 32}, odd), HasSubstr("give its heads and ffn_size"));
}

}  // namespace
}  // namespace retain::test
