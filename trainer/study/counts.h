// The three ways in which scaling laws count parameters. Which one is taken decides the exponents, so all are reported.
#pragma once

#include <cstdint>
#include <string>

#include "trainer/study/study.h"

namespace retain::study {

struct Counts {
  int64_t all = 0;
  int64_t non_embedding = 0;  ///< all but the table that tokens are looked up in; a tied one is the head's, and counts
  int64_t blocks = 0;         ///< the blocks alone: without embedding, final norm and head

  int64_t of(Counted counted) const;
};
Counts count(const ModelConfig& model);

/// "500k", "3.97M", "1.3B": three digits.
std::string short_number(double number);
/// The fewest digits that are the same number, as names have it: "0.5", "20", "3e15".
std::string plain_number(double number);

}  // namespace retain::study
