// Scaling laws: the loss that a model of N parameters has after D tokens.
//
//   L(N, D) = E + (A/N^α + B/D^β)^γ
//
// is every form that is fitted here, with some of the six constants held:
//
//   chinchilla         γ = 1                Hoffmann et al. 2022 (2203.15556), approach 3
//   chinchilla-gamma   γ free               the outer exponent of the xLSTM study (2510.02228)
//   gadre              γ = 1, β = α         Gadre et al. 2024 (2403.08540): E + (a·M^η + b·M^−η)·C^−η with M = D/N,
//                                           C = 6ND; η = α/2, a = A·6^η, b = B·6^η
//   kaplan             E = 0, β = 1         Kaplan et al. 2020 (2001.08361), eq. 1.5: ((Nc/N)^(αN/αD) + Dc/D)^αD
//   power-C            B = 0, N is C        E + A/C^α over the runs of the envelope (approach 1)
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace retain {

struct LawForm {
  enum class Beta : uint8_t { kFree, kAsAlpha, kOne, kNoData };  ///< kNoData: B = 0, and β means nothing
  const char* name;
  const char* formula;
  bool fits_e;
  Beta beta;
  bool fits_gamma;

  int free_constants() const {
    return 2 + (fits_e ? 1 : 0) + (beta == Beta::kFree ? 2 : beta == Beta::kNoData ? 0 : 1) + (fits_gamma ? 1 : 0);
  }
};

const std::vector<LawForm>& law_forms();
/// Throws Error(kUsage) with the names of all.
const LawForm& find_form(std::string_view name);

struct Law {
  double e = 0, a = 0, b = 0, alpha = 0, beta = 0, gamma = 1;

  static constexpr int kConstants = 6;
  std::array<double, kConstants> constants() const { return {e, a, b, alpha, beta, gamma}; }
  static const std::array<const char*, kConstants>& names();  ///< "E", "A", "B", "alpha", "beta", "gamma"

  double loss(double params, double tokens) const;
  /// The exponents of compute-optimal training at C = 6·N·D: N* ~ C^a, D* ~ C^b, a + b = 1. γ does not change them.
  double params_exponent() const { return beta / (alpha + beta); }
  double tokens_exponent() const { return alpha / (alpha + beta); }
  /// N* of C = 6·N·D: where α·A/N^α = β·B/D^β (Hoffmann et al. 2022, eq. 4).
  double optimal_params(double flops) const;
  double optimal_tokens(double flops) const { return flops / (6 * optimal_params(flops)); }
};

}  // namespace retain
