#include "trainer/study/counts.h"

#include <fmt/core.h>

#include <array>
#include <charconv>

#include "trainer/model/retnet.h"

namespace retain::study {

int64_t Counts::of(Counted counted) const {
  switch (counted) {
    case Counted::kAll: return all;
    case Counted::kNonEmbedding: return non_embedding;
    case Counted::kBlocks: return blocks;
  }
  throw Error(ErrorKind::kInternal, "no such way of counting");
}

Counts count(const ModelConfig& model) {
  Counts counts;
  for (const DeclaredParameter& parameter : RetNet::declare(model).parameters) {
    const int64_t elements = parameter.rows * parameter.columns;
    counts.all += elements;
    if (parameter.use != ParameterUse::kLookUp) counts.non_embedding += elements;
    if (parameter.part >= 1 && parameter.part <= model.layers) counts.blocks += elements;
  }
  return counts;
}

std::string short_number(double number) {
  constexpr std::array kSuffixes = {"", "k", "M", "B", "T"};
  size_t suffix = 0;
  for (; number >= 999.5 && suffix + 1 < kSuffixes.size(); ++suffix) number /= 1000;
  return fmt::format("{:.3g}{}", number, kSuffixes.at(suffix));
}

std::string plain_number(double number) {
  std::array<char, 32> buffer{};
  const auto format = number >= 1e6 ? std::chars_format::scientific : std::chars_format::general;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, format);
  std::string text(buffer.data(), end.ptr);
  std::erase(text, '+');
  return text;
}

}  // namespace retain::study
