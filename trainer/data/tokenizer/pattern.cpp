#include "trainer/data/tokenizer/pattern.h"

#include <array>
#include <optional>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/text.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace retain {
namespace {

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

/// PCRE2's own \s has one character more (U+180E).
std::string with_white_space(const std::string& expression) {
  std::string result;
  for (size_t i = 0; i < expression.size(); ++i) {
    const bool escape = expression[i] == '\\' && i + 1 < expression.size();
    const char next = escape ? expression[i + 1] : '\0';
    if (next == 's' || next == 'S') {
      result += next == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
      ++i;
    } else {
      result += expression[i];
      if (escape) result += expression[++i];
    }
  }
  return result;
}

}  // namespace

struct Pattern::Compiled {
  std::unique_ptr<pcre2_code, Free> code;
  std::string where;

  struct Match {
    size_t begin, end;
    bool open;  ///< more text may make it another, or none
  };

  /// The next match at or after `from`.
  std::optional<Match> find(std::string_view text, size_t from, uint32_t partial, pcre2_match_data* data) const {
    const auto* const subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | partial;
    const int found = pcre2_match(code.get(), subject, text.size(), from, options, data, nullptr);
    if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
    if (found < 0 && found != PCRE2_ERROR_PARTIAL)
      throw Error(ErrorKind::kData, concat(where, ": text cannot be split: ", message_of(found)));
    const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(data);
    return Match{.begin = ends[0], .end = ends[1], .open = found == PCRE2_ERROR_PARTIAL};
  }

  std::unique_ptr<pcre2_match_data, Free> match_data() const {
    return std::unique_ptr<pcre2_match_data, Free>(pcre2_match_data_create_from_pattern(code.get(), nullptr));
  }
};

Pattern::Pattern(const std::string& expression, std::string where) : compiled_(std::make_unique<Compiled>()) {
  const std::string text = with_white_space(expression);
  int error = 0;
  PCRE2_SIZE place = 0;
  compiled_->where = std::move(where);
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), PCRE2_UTF | PCRE2_UCP,
                                      &error, &place, nullptr));
  if (!compiled_->code) {
    throw Error(ErrorKind::kData, concat(compiled_->where, ": the pattern ", in_quotes(expression),
                                         " cannot be used: ", message_of(error), " at its byte ", place));
  }
  // Where there is no JIT the interpreter matches the same.
  pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
}

Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

void Pattern::split(std::string_view text, const Piece& piece) const {
  const auto data = compiled_->match_data();
  size_t at = 0;
  while (const auto match = compiled_->find(text, at, 0, data.get())) {
    if (match->begin > at) piece(text.substr(at, match->begin - at), false);
    piece(text.substr(match->begin, match->end - match->begin), true);
    at = match->end;
  }
  if (at < text.size()) piece(text.substr(at), false);
}

size_t Pattern::settled(std::string_view text) const {
  const auto data = compiled_->match_data();
  size_t at = 0;
  for (auto match = compiled_->find(text, 0, PCRE2_PARTIAL_HARD, data.get()); match && !match->open;
       match = compiled_->find(text, at, PCRE2_PARTIAL_HARD, data.get())) {
    at = match->end;
  }
  return at;
}

size_t Pattern::open_match(std::string_view text) const {
  const auto data = compiled_->match_data();
  size_t at = 0;
  while (const auto match = compiled_->find(text, at, PCRE2_PARTIAL_HARD, data.get())) {
    if (match->open) return match->begin;
    at = match->end;
  }
  return text.size();
}

}  // namespace retain
