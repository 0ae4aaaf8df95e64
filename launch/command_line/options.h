// What the options of the verbs are made of: CLI11's options, bound to the option structs, with validators that read
// values as configurations do. Private to launch/command_line/, where alone CLI11 is visible.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launch/command_line/command_line.h"
#include "launch/config/schema.h"

namespace retain::command_line {

using Names = std::vector<std::string>;

/// " (did you mean 'train'?)", or nothing when no candidate is near.
std::string suggestion(const std::string& asked, const Names& candidates);

// ---- values ----
// What is wrong with a value is said without the option's name, which CLI11 puts before it.

[[noreturn]] void refuse_value(const std::string& problem);
int64_t read_whole(const std::string& text, int64_t low, int64_t high);
double read_real(const std::string& text, double low, double high);
/// Its place among `names`.
int64_t read_choice(const std::string& text, const Names& names);
/// "a,b,c" without its commas; one at the end ends the last piece.
Names split_at_commas(const std::string& text);

/// "8Ki": becomes its digits.
CLI::Validator whole(int64_t low, int64_t high);
/// One of these names: becomes its value.
template <class E>
CLI::Validator one_of(const Named<E>& named) {
  const auto read = [named](std::string& text) {
    const auto place = static_cast<size_t>(read_choice(text, names_of(named)));
    text = std::to_string(static_cast<int64_t>(named[place].second));
    return std::string();
  };
  return {read, ""};
}

// ---- options ----

/// `shown` is what stands for the value in the help; to CLI11 every value is a TEXT, as to who types it. A list takes
/// one value each time that its option is repeated.
template <class T>
CLI::Option* option(CLI::App& verb, const std::string& name, T& value, const std::string& shown,
                    const std::string& about) {
  return verb.add_option(name, value, about)->option_text(shown)->type_name("TEXT")->allow_extra_args(false);
}
/// An option with a form of its own, which `read` keeps or refuses.
CLI::Option* read_option(CLI::App& verb, const std::string& name, const std::function<void(const std::string&)>& read,
                         const std::string& shown, const std::string& about);
/// A length of time such as 24h, 90m or 1d12h.
void duration_option(CLI::App& verb, const std::string& name, int64_t& seconds, const std::string& about);
/// One line of text, for a scheduler, which reads lines.
CLI::Validator one_line();
/// --tokens, whose default an empty value keeps.
void tokens_option(CLI::App& verb, int64_t& tokens, int64_t high, const std::string& about);
void config_and_sets(CLI::App& verb, std::string& config, std::vector<std::string>& sets, bool required = true);
void device_option(CLI::App& verb, DeviceKind& device);
void device_and_precision(CLI::App& verb, DeviceKind& device, Precision& precision);
void json(CLI::App& verb, bool& value, const std::string& about = "one JSON document on stdout");

// ---- verbs ----

/// A verb of a group (the root is one). When the command line is the verb's, `command` becomes the struct that `bind`
/// has bound options to.
template <class Options, class Bind>
void add_verb(CLI::App& group, Command& command, const std::string& name, const std::string& purpose,
              const std::string& examples, const Bind& bind) {
  CLI::App& verb = *group.add_subcommand(name, purpose)->footer(examples);
  const auto options = std::make_shared<Options>();
  bind(verb, *options);
  verb.set_help_flag("-h,--help", "this text");
  verb.callback([options, &command] { command = *options; });
}

/// What is wrong with the arguments, in one line: mistakes.cpp.
std::string explain(const CLI::App& verb, const CLI::ParseError& error);

void add_model_verbs(CLI::App& root, Command& command);       // model.cpp: train, plan, eval
void add_inference_verbs(CLI::App& root, Command& command);   // inference.cpp: generate, serve
void add_data_verbs(CLI::App& root, Command& command);        // data.cpp
void add_checkpoint_verbs(CLI::App& root, Command& command);  // checkpoint.cpp
void add_bench_verbs(CLI::App& root, Command& command);       // bench.cpp
void add_launch_verb(CLI::App& root, Command& command);       // launch.cpp
void add_selftest_verb(CLI::App& root, Command& command);     // selftest.cpp
void add_doctor_verb(CLI::App& root, Command& command);       // doctor.cpp
void add_watch_verbs(CLI::App& root, Command& command);       // watch.cpp: top, plot
void add_study_verbs(CLI::App& root, Command& command);       // study.cpp: makes the group
void add_study_fit(CLI::App& group, Command& command);        // study_fit.cpp: fit, predict, plot, report

}  // namespace retain::command_line
