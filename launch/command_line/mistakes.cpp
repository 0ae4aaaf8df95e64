// What is wrong with the arguments of a verb, in our words: CLI11's own speak of types, counts and policies.
#include <algorithm>

#include "kernels/core/text.h"
#include "launch/command_line/options.h"

namespace retain::command_line {
namespace {

bool takes_no_value(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

bool has_word(const std::string& message, const std::string& word) {
  for (size_t at = message.find(word); at != std::string::npos; at = message.find(word, at + 1)) {
    const size_t end = at + word.size();
    if ((at == 0 || message[at - 1] == ' ') && (end == message.size() || message.find_first_of(" :,", end) == end))
      return true;
  }
  return false;
}

/// The option that a message of CLI11 names, if any; of flags it leaves out the dashes.
const CLI::Option* option_in(const CLI::App& verb, const std::string& message) {
  for (const CLI::Option* option : verb.get_options())
    if (has_word(message, option->get_name()) ||
        (takes_no_value(*option) && has_word(message, option->get_single_name())))
      return option;
  return nullptr;
}

std::string what_is_missing(const CLI::App& verb) {
  for (const CLI::Option* option : verb.get_options())
    if (option->get_required() && option->empty()) return option->get_name() + " is required";
  return "";
}

std::string what_is_too_much(const CLI::App& verb) {
  Names known, words;
  for (const CLI::Option* option : verb.get_options()) known.push_back(option->get_name());
  for (const std::string& word : verb.remaining()) {
    if (word.starts_with('-')) {
      const std::string option = word.substr(0, word.find('='));
      return "no option " + in_quotes(option) + suggestion(option, known);
    }
    words.push_back(in_quotes(word));
  }
  return words.empty() ? "" : "there is no place for " + CLI::detail::join(words, ", ");
}

/// What is wrong with the number of values of an option, or with the one that CLI11 could not take.
std::string what_is_wrong(const CLI::Option& option) {
  const bool once = option.get_multi_option_policy() == CLI::MultiOptionPolicy::Throw && option.get_expected_max() <= 1;
  if (once && option.count() > 1) return option.get_name() + " is given more than once";
  if (takes_no_value(option)) return option.get_name() + " takes no value";
  return option.get_name() + " needs a value: " + option.get_option_text();
}

}  // namespace

std::string explain(const CLI::App& verb, const CLI::ParseError& error) {
  // Of several mistakes, what is missing is told first and a wrong value last.
  const bool wrong_value = dynamic_cast<const CLI::ValidationError*>(&error) != nullptr;
  const bool missing = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  std::string text;
  if (wrong_value || missing) text = what_is_missing(verb);
  if (text.empty()) text = what_is_too_much(verb);
  if (text.empty() && wrong_value) return error.what();  // ours: refuse_value()
  if (text.empty())
    if (const CLI::Option* option = option_in(verb, error.what())) text = what_is_wrong(*option);
  return text.empty() ? "these arguments are not understood" : text;
}

}  // namespace retain::command_line
