#include "launch/config/path.h"

#include <cstdlib>

#include "kernels/core/error.h"
#include "kernels/core/text.h"

namespace retain {
namespace {

constexpr const char* kVariableForm = "'$' in a path begins a variable: expected $NAME or ${NAME}";
constexpr const char* kHomeForm =
    "'~' in a path is the home folder, alone or before the first '/': write the whole path";

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

bool is_name(std::string_view text) { return !text.empty() && is_letter(text[0]); }

/// The letters and digits at the front of the text.
std::string_view name_at(std::string_view text) {
  size_t n = 0;
  while (n < text.size() && (is_letter(text[n]) || (text[n] >= '0' && text[n] <= '9'))) ++n;
  return text.substr(0, n);
}

/// Takes "$NAME" or "${NAME}" from the front of the text and gives NAME, or "" when it is neither.
std::string take_variable(std::string_view& text) {
  const bool braces = text.starts_with("${");
  const std::string_view name = name_at(text.substr(braces ? 2 : 1));
  const size_t length = name.size() + (braces ? 3 : 1);
  if (!is_name(name) || (braces && (text.size() < length || text[length - 1] != '}'))) return "";
  text.remove_prefix(length);
  return std::string(name);
}

bool has_folder_named_home(std::string_view path) {
  return path.starts_with('~') || path.ends_with("/~") || path.find("/~/") != std::string_view::npos;
}

}  // namespace

std::optional<std::string> environment_variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? std::optional<std::string>(value) : std::nullopt;
}

std::optional<std::string> expand_path(const std::string& path, const Variables& variables, std::string& problem) {
  std::string out;
  problem.clear();
  const auto add = [&](const std::string& name) {
    const std::string value = variables(name).value_or("");
    if (value.empty())
      problem = "the variable " + name + " is not set";
    else if (value.find('$') != std::string::npos || (out.empty() && value.starts_with('~')))
      problem = "the variable " + name + " holds " + in_quotes(value) + ", which is not expanded again";
    else
      out += value;
  };
  std::string_view rest = path;
  if (path == "~" || path.starts_with("~/")) {
    add("HOME");
    rest.remove_prefix(1);
  }
  if (has_folder_named_home(rest)) problem = kHomeForm;
  while (!rest.empty() && problem.empty()) {
    if (rest[0] != '$') {
      out += rest[0];
      rest.remove_prefix(1);
    } else if (const std::string name = take_variable(rest); !name.empty()) {
      add(name);
    } else {
      problem = kVariableForm;
    }
  }
  return problem.empty() ? std::optional(out) : std::nullopt;
}

}  // namespace retain
