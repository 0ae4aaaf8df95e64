#include "trainer/study/law.h"

#include <cmath>

#include "kernels/core/error.h"
#include "kernels/core/text.h"

namespace retain {

const std::vector<LawForm>& law_forms() {
  using Beta = LawForm::Beta;
  static const std::vector<LawForm> forms = {
      {"chinchilla", "E + A/N^alpha + B/D^beta", true, Beta::kFree, false},
      {"chinchilla-gamma", "E + (A/N^alpha + B/D^beta)^gamma", true, Beta::kFree, true},
      {"gadre", "E + A/N^alpha + B/D^alpha", true, Beta::kAsAlpha, false},
      {"kaplan", "(A/N^alpha + B/D)^gamma", false, Beta::kOne, true},
      {"power-C", "E + A/C^alpha over the envelope", true, Beta::kNoData, false},
  };
  return forms;
}

const LawForm& find_form(std::string_view name) {
  std::string names;
  for (const LawForm& form : law_forms()) {
    if (form.name == name) return form;
    names += (names.empty() ? "" : ", ") + std::string(form.name);
  }
  throw Error(ErrorKind::kUsage, "no form " + in_quotes(name) + "; the forms are " + names);
}

const std::array<const char*, Law::kConstants>& Law::names() {
  static const std::array<const char*, kConstants> names = {"E", "A", "B", "alpha", "beta", "gamma"};
  return names;
}

double Law::loss(double params, double tokens) const {
  return e + std::pow(a * std::pow(params, -alpha) + b * std::pow(tokens, -beta), gamma);
}

double Law::optimal_params(double flops) const {
  const double tokens_term = std::log(beta * b) - beta * std::log(flops / 6);
  return std::exp((std::log(alpha * a) - tokens_term) / (alpha + beta));
}

}  // namespace retain
