#include "launch/config/value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "kernels/core/error.h"
#include "kernels/core/text.h"

namespace retain {
namespace {

struct Suffix {
  std::string_view name;
  int64_t factor;
};

constexpr std::array<Suffix, 6> kSuffixes = {{{"Ki", int64_t{1} << 10},
                                              {"Mi", int64_t{1} << 20},
                                              {"Gi", int64_t{1} << 30},
                                              {"k", 1'000},
                                              {"M", 1'000'000},
                                              {"B", 1'000'000'000}}};

constexpr const char* kNotWhole = "expected a whole number such as 300, 4k, 1.3B or 16Ki";
constexpr const char* kTooLarge = "expected a number below 2^63";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Takes the digits at the front of the text.
std::string_view take_digits(std::string_view& text) {
  size_t n = 0;
  while (n < text.size() && is_digit(text[n])) ++n;
  const std::string_view digits = text.substr(0, n);
  text.remove_prefix(n);
  return digits;
}

__extension__ using Wide = unsigned __int128;  // holds 19 digits times the largest factor

}  // namespace

std::optional<int64_t> parse_whole(std::string_view text, std::string& problem) {
  problem = kNotWhole;
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const std::string_view whole = take_digits(text);
  if (whole.empty()) return std::nullopt;
  if (whole.size() > 1 && whole[0] == '0') {
    problem = "expected a whole number without a leading zero";
    return std::nullopt;
  }
  std::string_view fraction;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    fraction = take_digits(text);
    if (fraction.empty()) return std::nullopt;
  }
  while (fraction.ends_with('0')) fraction.remove_suffix(1);

  int exponent = 0;
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(text.starts_with("e+") || text.starts_with("E+") ? 2 : 1);
    const std::string_view digits = take_digits(text);
    if (digits.empty() || digits.size() > 2 || !text.empty()) return std::nullopt;
    std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
  }
  int64_t factor = 1;
  if (!text.empty()) {
    const auto* suffix =
        std::find_if(kSuffixes.begin(), kSuffixes.end(), [&](const Suffix& s) { return s.name == text; });
    if (suffix == kSuffixes.end()) return std::nullopt;
    factor = suffix->factor;
  }

  // value = (whole.fraction) · 10^exponent · factor, exactly: all digits as one integer, then divided by what the
  // fraction added.
  const std::string digits = std::string(whole) + std::string(fraction);
  uint64_t number = 0;
  constexpr Wide kMost = std::numeric_limits<int64_t>::max();
  const bool fits = digits.size() <= 19;
  if (fits) std::from_chars(digits.data(), digits.data() + digits.size(), number);
  Wide value = Wide{number} * static_cast<Wide>(factor);
  int scale = exponent - static_cast<int>(fraction.size());
  for (; scale > 0 && value <= kMost; --scale) value *= 10;
  for (; scale < 0 && value % 10 == 0; ++scale) value /= 10;
  if (fits && scale < 0) return std::nullopt;  // 1.5, or 0.0001k
  problem = fits && value <= kMost ? "" : kTooLarge;
  if (!problem.empty()) return std::nullopt;
  return negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

std::optional<double> parse_real(std::string_view text, std::string& problem) {
  problem = "expected a finite number such as 0.1 or 6e-4";
  if (text.empty() || !std::all_of(text.begin(), text.end(), [](char c) {
        return is_digit(c) || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E';
      }))
    return std::nullopt;  // "inf" and "nan" are numbers to from_chars
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc::result_out_of_range) {
    problem = "expected a number that a double holds";
    return std::nullopt;
  }
  problem.clear();
  return value;
}

std::string print_real(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

std::string print_text(std::string_view text) {
  const auto plain = [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/' || c == '.' ||
           c == '-';
  };
  const bool starts_well = !text.empty() && text[0] != '-' && !text.starts_with("...");
  if (starts_well && text != "null" && text != "Null" && text != "NULL" && std::all_of(text.begin(), text.end(), plain))
    return std::string(text);
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string describe(const ConfigNode& node) {
  switch (node.kind) {
    case ConfigNode::Kind::kScalar: return (node.quoted ? "the text " : "") + in_quotes(node.text);
    case ConfigNode::Kind::kSequence: return "a list";
    case ConfigNode::Kind::kMap: return "a map";
    default: return "nothing";
  }
}

}  // namespace retain
