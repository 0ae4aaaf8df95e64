#include "launch/command_line/command_line.h"

#include <algorithm>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "launch/command_line/options.h"

namespace retain {

using namespace command_line;

namespace {

using Arguments = std::vector<std::string>;

bool is_root(const CLI::App& app) { return app.get_parent() == nullptr; }

bool is_group(const CLI::App& app) { return !app.get_subcommands({}).empty(); }

/// "retain data prepare"; of a verb that has parsed nothing yet.
std::string full_name(const CLI::App& app) {
  return (is_root(app) ? "" : full_name(*app.get_parent()) + " ") + app.get_name();
}

/// "data prepare".
std::string verb_name(const CLI::App& verb) { return full_name(verb).substr(std::string("retain ").size()); }

/// The verbs of a group and of the groups in it.
std::vector<const CLI::App*> verbs_of(const CLI::App& group) {
  std::vector<const CLI::App*> verbs;
  for (const CLI::App* app : group.get_subcommands({})) {
    std::vector<const CLI::App*> inner = verbs_of(*app);
    if (inner.empty()) inner = {app};
    verbs.insert(verbs.end(), inner.begin(), inner.end());
  }
  return verbs;
}

/// One line for each of them.
std::string lines_of(const CLI::App& group) {
  std::string text;
  for (const CLI::App* verb : verbs_of(group)) {
    const std::string name = verb_name(*verb), purpose = verb->get_description();
    const size_t end = std::min(purpose.find_first_of(":;"), purpose.size() - 1);  // the first clause
    text += "\n  " + name + std::string(22 - std::min<size_t>(name.size(), 21), ' ') + purpose.substr(0, end) + ".";
  }
  return text;
}

// ---- help ----

const char* const kExitCodes =
    "Exit codes:\n"
    "  0 done               64 usage              65 bad data, checkpoint\n"
    "  66 missing input     69 GPU, NCCL or MPI   70 hang, internal error\n"
    "  71 out of memory     73 cannot create      74 input/output, disk full\n"
    "  75 run me again      76 diverged           78 bad configuration\n";

/// CLI11's page of a verb or group, with our usage, list of verbs, examples (the footers) and exit codes.
class HelpPages : public CLI::Formatter {
 public:
  HelpPages() { label("Positionals", "Arguments"); }

  // Versions of CLI11 differ in the blank lines between these parts.
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override {
    const std::string about = app->get_description().empty() ? "" : app->get_description() + "\n\n";
    return about + make_usage(app, name) + make_positionals(app) + make_groups(app, mode) +
           make_subcommands(app, mode) + make_footer(app);
  }

  std::string make_usage(const CLI::App* app, std::string) const override {
    std::string usage = "Usage: " + full_name(*app);
    if (is_group(*app)) return usage + (is_root(*app) ? " VERB [SUBVERB]" : " VERB") + " ARGUMENTS [--options]\n";
    for (const CLI::Option* option : app->get_options()) {
      if (option->get_positional()) usage += " " + make_option_usage(option);
      if (option->nonpositional() && option->get_required())
        usage += " " + option->get_name() + make_option_opts(option);
    }
    return usage + " [options]\n";
  }

  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_option_text().empty() ? "" : " " + option->get_option_text();
  }

  std::string make_subcommands(const CLI::App* app, CLI::AppFormatMode) const override {
    if (!is_group(*app)) return "";
    const std::string more = is_root(*app) ? ", and so does retain help VERB;\nretain --version prints the version.\n"
                                             "The result goes to stdout, the talk to stderr.\n"
                                           : ".\n";
    return "\nVerbs:" + lines_of(*app) + "\n\n" + full_name(*app) + " VERB --help explains a verb" + more;
  }

  std::string make_footer(const CLI::App* app) const override {
    std::string examples = app->get_footer();
    if (examples.empty())  // a group: the first example of each verb
      for (const CLI::App* verb : verbs_of(*app))
        examples += verb->get_footer().substr(0, verb->get_footer().find('\n') + 1);
    return "\nExamples:\n" + examples + "\n" + kExitCodes;
  }
};

// ---- refusals ----

[[noreturn]] void usage_error(const std::string& message) { throw Error(ErrorKind::kUsage, message); }

/// No verb of `group` follows the words that name the group.
[[noreturn]] void refuse_verb(const CLI::App& group, const Arguments& arguments, size_t words) {
  const std::string words_before = is_root(group) ? "" : verb_name(group) + " ";
  const std::string list = "\nverbs:" + lines_of(group) + "\n'retain help " + words_before + "VERB' explains a verb";
  if (words == arguments.size()) usage_error((is_root(group) ? "" : full_name(group) + ": ") + "no verb given" + list);
  const std::string& wrong = arguments[words];
  if (wrong.starts_with('-')) usage_error("options stand after the verb, got " + in_quotes(wrong) + list);
  const std::string asked = words_before + wrong;
  Names next;
  for (const CLI::App* app : group.get_subcommands({})) next.push_back(verb_name(*app));
  usage_error("no verb " + in_quotes(asked) + suggestion(asked, next) + list);
}

/// Whether one of these words stands among the arguments, before "--".
bool asks_for(const Arguments& arguments, const Names& words) {
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  return std::find_first_of(arguments.begin(), end, words.begin(), words.end()) != end;
}

}  // namespace

Command parse_command_line(const Arguments& given) {
  Command command;
  // "retain help train" is "retain train --help".
  const bool help = !given.empty() && given[0] == "help";
  const Arguments arguments(given.begin() + (help ? 1 : 0), given.end());
  CLI::App root("Trains retentive networks (RetNet) on one CPU, one GPU, or many nodes.", "retain");
  root.set_help_flag();
  root.formatter(std::make_shared<HelpPages>());
  add_model_verbs(root, command);
  add_inference_verbs(root, command);
  add_data_verbs(root, command);
  add_checkpoint_verbs(root, command);
  add_launch_verb(root, command);
  add_selftest_verb(root, command);
  add_doctor_verb(root, command);
  add_watch_verbs(root, command);
  add_study_verbs(root, command);
  add_bench_verbs(root, command);
  root.footer(  // verbs would have inherited it
      "  retain data prepare book.txt --out runs/demo/data/text --holdout 5%\n"
      "  retain train configs/demo.yaml\n"
      "  retain generate runs/demo --prompt \"It was\"\n");

  CLI::App* verb = &root;  // or a group of verbs: what the first words name
  size_t words = 0;
  for (; words < arguments.size(); ++words) {
    const auto named = verb->get_subcommands([&](CLI::App* app) { return app->get_name() == arguments[words]; });
    if (named.empty()) break;
    verb = named.front();
  }
  // Seen wherever they stand, even where a value is missing or wrong.
  const bool named = !is_group(*verb) || words == arguments.size();
  if (asks_for(arguments, {"--help", "-h"}) || (help && named)) return ShowText{verb->help()};
  if (asks_for(arguments, {"--version", "-v"}) || arguments == Arguments{"version"})
    return ShowText{"retain " RETAIN_VERSION "\n"};
  if (is_group(*verb)) refuse_verb(*verb, arguments, words);

  const std::string name = full_name(*verb);
  Arguments rest(arguments.rbegin(), arguments.rend() - static_cast<std::ptrdiff_t>(words));  // CLI11 reads backwards
  try {
    verb->parse(rest);
  } catch (const CLI::ParseError& error) {
    usage_error(name + ": " + explain(*verb, error) + "; see '" + name + " --help'");
  }
  return command;
}

}  // namespace retain
