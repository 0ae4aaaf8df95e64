#include "launch/jobs/shell.h"

#include <string_view>

namespace retain {

std::string quote_for_shell(const std::string& text) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./:,@%=";
  const bool plain = text.find_first_not_of(kPlain) == std::string::npos;
  if (plain && !text.empty() && text[0] != '-' && text[0] != '=') return text;
  std::string quoted = "'";
  for (const char each : text) each == '\'' ? quoted += "'\\''" : quoted += each;
  return quoted + "'";
}

std::string quote_for_shell(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + quote_for_shell(word);
  return line;
}

}  // namespace retain
