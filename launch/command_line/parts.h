// What the verbs of the command line are made of: options bound to strings, and readers of their values that throw
// Error(kUsage) with the option's name. Private to launch/command_line/command_line*.cpp, where alone CLI11 is visible.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launch/command_line/command_line.h"

namespace retain::command_line {

/// One verb: its options are bound to a struct that `finish` hands over when all has been read.
struct Verb {
  std::string name;
  std::string examples;
  std::unique_ptr<CLI::App> app;
  std::function<Command()> finish;
};

[[noreturn]] void usage_error(const std::string& message);

// ---- values ----

int64_t read_count(const std::string& option, const std::string& text, int64_t low, int64_t high);
/// "2048,8Ki".
std::vector<int64_t> read_counts(const std::string& option, const std::string& text, int64_t low, int64_t high);
double read_number(const std::string& option, const std::string& text, double low, double high);
/// "a,b": each of `names`, none twice; "" is none.
std::vector<std::string> read_words(const std::string& option, const std::string& text,
                                    const std::vector<std::string>& names);
size_t read_choice(const std::string& option, const std::string& text, const std::vector<std::string>& names);

// ---- options ----

Verb make_verb(std::string name, const std::string& purpose, std::string examples);
CLI::Option* word(Verb& verb, const std::string& name, std::string& value, const std::string& about,
                  const std::string& shown);
/// A list: of arguments as many as come, of an option one value each time it is repeated.
CLI::Option* words(Verb& verb, const std::string& name, std::vector<std::string>& values, const std::string& about,
                   const std::string& shown);
void flag(Verb& verb, const std::string& name, bool& value, const std::string& about);
void config_and_sets(Verb& verb, std::string& config, std::vector<std::string>& sets);

struct DeviceWords {
  std::string device = "auto", precision = "auto";
};
void device_and_precision(Verb& verb, DeviceWords& words);
void read_device(const DeviceWords& words, DeviceKind& device, Precision& precision);

/// checkpoint list, verify, digest, diff, check (command_line_checkpoint.cpp).
std::vector<Verb> checkpoint_verbs();
/// bench gemm, bench retention, bench collectives, bench step (command_line_bench.cpp).
std::vector<Verb> bench_verbs();

}  // namespace retain::command_line
