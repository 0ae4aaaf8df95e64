#include "launch/config/study_reader.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "kernels/core/text.h"
#include "launch/config/fields.h"
#include "launch/config/problems.h"
#include "launch/config/schema.h"
#include "launch/config/suggest.h"
#include "launch/config/value.h"
#include "launch/config/yaml.h"
#include "trainer/study/counts.h"
#include "trainer/study/rules.h"

namespace retain {
namespace {

using Kind = ConfigNode::Kind;
using schema::Choice;
using schema::kPositive;
using schema::OnOff;
using schema::Real;
using schema::Whole;
using study::Rule;
using study::RuleKind;
using study::Study;

constexpr int64_t kMostParameters = 1'000'000'000'000'000;
constexpr int64_t kMostGpus = 100'000;
constexpr const char* kInlineBase =
    "base: a configuration that stands here needs lines of its own, with the next key "
    "on a line after them";

/// One key of a map, and what takes its value.
struct Key {
  std::string name;
  std::function<void(const ConfigNode&, const ReportProblem&)> take;
};

/// A value of this kind goes to its place.
template <class Kind, class Place>
auto into(Place& place, Kind kind) {
  return [&place, kind](const ConfigNode& node, const ReportProblem& report) {
    if (const auto value = kind.read(node, report)) schema::assign(place, *value);
  };
}

/// A positive amount, with or without a suffix: 4M, 64Ki, 0.1, 3e-4.
struct Amount {
  static std::optional<double> read(const ConfigNode& node, const ReportProblem& report) {
    std::string problem;
    if (node.kind == Kind::kScalar && !node.quoted)
      if (const auto whole = parse_whole(node.text, problem); whole && *whole > 0) return static_cast<double>(*whole);
    return kPositive.read(node, report);
  }
};

std::optional<std::string> read_name(const ConfigNode& node, const ReportProblem& report) {
  const auto legal = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  if (node.kind == Kind::kScalar && !node.text.empty() && std::ranges::all_of(node.text, legal) && node.text[0] != '.')
    return node.text;
  if (node.kind != Kind::kRefused)
    report(node.at, "expected a name of letters, digits, '.', '_' and '-', got " + describe(node), "");
  return std::nullopt;
}

/// Calls `take` for each item of a list.
void read_list(const ConfigNode& node, const std::string& example, const ReportProblem& report,
               const std::function<void(const ConfigNode&)>& take) {
  if (node.kind == Kind::kRefused) return;
  if (node.kind != Kind::kSequence)
    return report(node.at, "expected a list such as " + example + ", got " + describe(node), "");
  for (const ConfigNode& item : node.items) take(item);
}

/// Takes the keys of a map in the order of the table, so that one may look at what came before.
void read_map(const ConfigNode& node, const std::vector<Key>& keys, const ReportProblem& report) {
  if (node.kind == Kind::kRefused || node.kind == Kind::kNull) return;
  std::vector<std::string> names;
  for (const Key& key : keys) names.push_back(key.name);
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  if (node.kind != Kind::kMap) return report(node.at, "expected keys (" + all + "), got " + describe(node), "");
  for (const ConfigNode& item : node.items) {
    if (item.key_refused || std::ranges::find(names, item.key) != names.end()) continue;
    const std::string meant = did_you_mean(nearest_word(item.key, names));
    report(item.key_at, "unknown key " + in_quotes(item.key) + " (legal: " + all + ")", meant);
  }
  for (const Key& key : keys) {
    for (const ConfigNode& item : node.items) {
      if (item.key != key.name || item.kind == Kind::kRefused) continue;
      const ReportProblem prefixed = [&](const Origin& at, const std::string& wrong, const std::string& hint) {
        report(at, key.name + ": " + wrong, hint);
      };
      if (item.kind == Kind::kNull)
        prefixed(item.key_at, "has no value", "");
      else
        key.take(item, prefixed);
    }
  }
}

auto amounts_into(std::vector<double>& amounts, const std::string& example) {
  return [&amounts, example](const ConfigNode& node, const ReportProblem& report) {
    read_list(node, example, report, [&](const ConfigNode& item) {
      if (const auto value = Amount::read(item, report)) amounts.push_back(*value);
    });
  };
}

// ---- rules ----

std::string legal_rules(const std::string& quantity) {
  std::string text = "a number, a power law {coefficient, exponent_params, exponent_tokens, min, max}";
  for (const study::NamedRule& named : study::kNamedRules)
    if (quantity == named.quantity) text += concat(", ", named.name);
  return text;
}

const study::NamedRule* find_rule(const std::string& quantity, const std::string& name) {
  const auto found = std::ranges::find_if(
      study::kNamedRules, [&](const study::NamedRule& rule) { return quantity == rule.quantity && name == rule.name; });
  return found == study::kNamedRules.end() ? nullptr : &*found;
}

/// The rule of this name; nothing, and a report, when the quantity has none of it.
const study::NamedRule* read_rule_name(const ConfigNode& node, const std::string& quantity,
                                       const ReportProblem& report) {
  const study::NamedRule* const named = node.kind == Kind::kScalar ? find_rule(quantity, node.text) : nullptr;
  if (named || node.kind == Kind::kRefused) return named;
  std::vector<std::string> names;
  for (const study::NamedRule& rule : study::kNamedRules)
    if (quantity == rule.quantity) names.emplace_back(rule.name);
  const std::string meant = node.kind == Kind::kScalar ? did_you_mean(nearest_word(node.text, names)) : "";
  report(node.at, "expected " + legal_rules(quantity) + "; got " + describe(node), meant);
  return nullptr;
}

void refuse_unmeasured(const ConfigNode& node, const study::NamedRule& named, const Rule& rule,
                       const ReportProblem& report) {
  if (named.measured && (rule.at <= 0 || rule.value <= 0))
    report(node.at,
           concat(named.name, " needs {rule: ", named.name, ", at: …, value: …}: the best value, and at which ",
                  named.kind == RuleKind::kSqrtWidth ? "hidden_size" : "tokens", " it was measured"),
           "");
}

void read_rule_map(const ConfigNode& node, const std::string& quantity, Rule& rule, const ReportProblem& report) {
  const study::NamedRule* named = nullptr;
  const bool by_name = std::ranges::any_of(node.items, [](const ConfigNode& item) { return item.key == "rule"; });
  rule.kind = RuleKind::kPowerLaw;
  const Real exponent = {.low = -10, .high = 10};
  std::vector<Key> keys = {{"min", into(rule.min, Amount{})}, {"max", into(rule.max, Amount{})}};
  if (by_name) {
    keys.push_back({"rule", [&](const ConfigNode& item, const ReportProblem& inner) {
                      named = read_rule_name(item, quantity, inner);
                      if (named) rule.kind = named->kind;
                    }});
    keys.push_back({"at", into(rule.at, Amount{})});
    keys.push_back({"value", into(rule.value, Amount{})});
    keys.push_back({"coefficient", into(rule.coefficient, Amount{})});
  } else {
    keys.push_back({"coefficient", into(rule.coefficient, Amount{})});
    keys.push_back({"exponent_params", into(rule.exponent_params, exponent)});
    keys.push_back({"exponent_tokens", into(rule.exponent_tokens, exponent)});
  }
  read_map(node, keys, report);
  if (named) refuse_unmeasured(node, *named, rule, report);
  if (!by_name && rule.coefficient <= 0) report(node.at, "a power law needs its coefficient", "");
  if (rule.min > rule.max) report(node.at, concat("min = ", rule.min, " is above max = ", rule.max), "");
}

auto rule_into(Rule& rule, const std::string& quantity) {
  return [&rule, quantity](const ConfigNode& node, const ReportProblem& report) {
    if (node.kind == Kind::kMap) return read_rule_map(node, quantity, rule, report);
    std::string problem;
    const bool number =
        node.kind == Kind::kScalar && (parse_whole(node.text, problem) || parse_real(node.text, problem));
    if (number) {
      rule.kind = RuleKind::kPowerLaw;
      return into(rule.coefficient, Amount{})(node, report);
    }
    const study::NamedRule* const named = read_rule_name(node, quantity, report);
    if (!named) return;
    rule.kind = named->kind;
    refuse_unmeasured(node, *named, rule, report);
  };
}

// ---- sections ----

class StudyReader {
 public:
  StudyReader(const ConfigSources& sources, const ReadBase& read_base) : sources_(sources), read_base_(read_base) {}

  Study read() {
    const ReportProblem report = [this](const Origin& at, const std::string& message, const std::string& hint) {
      problems_.push_back({at, message, hint});
    };
    root_ = parse_yaml(sources_.files.at(0).text, {Origin::Kind::kFile, 0, 1, 1}, report);
    if (root_.kind == Kind::kNull) report(root_.at, "is empty: expected base, sizes, budgets or ladder …", "");
    read_map(root_, keys(), report);
    if (root_.kind == Kind::kMap) require_keys(report);
    std::string wrong = problems_.empty() ? "" : describe(problems_, sources_, {});
    if (!base_problem_.empty()) wrong += (wrong.empty() ? "" : "\n") + base_problem_;
    if (!wrong.empty()) throw ConfigError(ErrorKind::kConfig, wrong);
    return std::move(study_);
  }

 private:
  std::vector<Key> keys() {
    Study& s = study_;
    const auto map = [](const std::vector<Key>& keys) {
      return [keys](const ConfigNode& node, const ReportProblem& report) { read_map(node, keys, report); };
    };
    const Choice<study::Counted> counted = {{{"all", study::Counted::kAll},
                                             {"non_embedding", study::Counted::kNonEmbedding},
                                             {"blocks", study::Counted::kBlocks}}};
    const Whole gpus = {.low = 1, .high = kMostGpus};
    return {
        {"study", map({{"dir", bind(&StudyReader::read_dir)},
                       {"count", into(s.count, counted)},
                       {"seeds", [&s](const auto& node, const auto& report) { read_seeds(node, s.seeds, report); }},
                       {"decay_branches", into(s.decay_branches, OnOff{})}})},
        {"base", bind(&StudyReader::read_base)},
        {"sizes", bind(&StudyReader::read_sizes)},
        {"shapes", map({{"head_dim", into(s.shapes.head_dim, Whole{8, 1024, "auto"})},
                        {"width_per_layer", into(s.shapes.width_per_layer, kPositive)},
                        {"ffn_ratio", into(s.shapes.ffn_ratio, kPositive)}})},
        {"ladder", map({{"tokens_per_parameter", amounts_into(s.tokens_per_parameter, "[5, 10, 20]")},
                        {"tokens", amounts_into(s.tokens, "[1M, 2M, 4M]")}})},
        {"budgets", bind(&StudyReader::read_budgets)},
        {"rules", map({{"batch_tokens", rule_into(s.rules.batch_tokens, "batch_tokens")},
                       {"lr", rule_into(s.rules.lr, "lr")},
                       {"beta2", rule_into(s.rules.beta2, "beta2")},
                       {"warmup_tokens", rule_into(s.rules.warmup_tokens, "warmup_tokens")},
                       {"weight_decay", rule_into(s.rules.weight_decay, "weight_decay")}})},
        {"repeats", bind(&StudyReader::read_repeats)},
        {"machine", map({{"gpus", into(s.machine.gpus, gpus)},
                         {"jobs_per_gpu", into(s.machine.jobs_per_gpu, Whole{1, 1000})},
                         {"ranks", into(s.machine.ranks, gpus)},
                         {"memory", into(s.machine.memory_bytes, Amount{})},
                         {"flops_per_second", into(s.machine.flops_per_second, Amount{})},
                         {"step_seconds", into(s.machine.step_seconds, Real{})},
                         {"rates", bind(&StudyReader::read_rates)}})},
        {"limits", map({{"max_gpu_hours", into(s.limits.max_gpu_hours, kPositive)},
                        {"max_epochs", into(s.limits.max_epochs, kPositive)}})},
    };
  }

  using Taker = void (StudyReader::*)(const ConfigNode&, const ReportProblem&);
  std::function<void(const ConfigNode&, const ReportProblem&)> bind(Taker taker) {
    return [this, taker](const ConfigNode& node, const ReportProblem& report) { (this->*taker)(node, report); };
  }

  void require_keys(const ReportProblem& report) const {
    const auto has = [](const ConfigNode& map, const std::string& key) {
      return std::ranges::find(map.items, key, &ConfigNode::key) != map.items.end();
    };
    const auto require = [&](bool there, const std::string& what) {
      if (!there) report(root_.at, what, "");
    };
    const auto section = std::ranges::find(root_.items, "study", &ConfigNode::key);
    require(section != root_.items.end() && has(*section, "dir"),
            "study.dir is required: the folder of the study, such as {dir: studies/mine}");
    require(has(root_, "base"), "base is required: the training configuration of all cells, a file or its keys");
    require(has(root_, "sizes"),
            "sizes is required: such as [4M, 16M] or [{name: small, layers: 4, hidden_size: 128}]");
    require(has(root_, "budgets") || has(root_, "ladder"),
            "budgets or ladder is required: FLOPs such as [1e15, 3e15], {tokens_per_parameter: [10, 20]} or "
            "{tokens: [1M, 2M]}");
  }

  std::optional<std::string> read_path(const ConfigNode& node, const ReportProblem& report) const {
    const auto path = schema::Path::read(node, report);
    if (!path || !sources_.variables) return path;
    std::string problem;
    const auto expanded = expand_path(*path, sources_.variables, problem);
    if (!expanded) report(node.at, problem, "");
    return expanded;
  }

  void read_dir(const ConfigNode& node, const ReportProblem& report) {
    const auto path = read_path(node, report);
    if (!path) return;
    std::filesystem::path whole = (std::filesystem::path(sources_.working_directory) / *path).lexically_normal();
    if (!whole.has_filename() && whole.has_relative_path()) whole = whole.parent_path();
    study_.dir = whole.string();
  }

  void read_base(const ConfigNode& node, const ReportProblem& report) {
    const std::string& own = sources_.files[0].name;
    std::optional<std::string> text;
    std::string name = own;
    if (node.kind == Kind::kMap) {
      text = text_of(node);
      if (!text) return report(node.at, kInlineBase, "");
    } else {
      const auto path = read_path(node, report);
      if (!path) return;
      name = (std::filesystem::path(own).parent_path() / *path).lexically_normal().string();
    }
    const Outcome read = attempt([&] { study_.base = read_base_(name, text); });
    base_problem_ = read.message;
  }

  /// The study's text with everything but this value of a key at the top left out, so that places stay what they are.
  std::optional<std::string> text_of(const ConfigNode& node) const {
    int end_line = 0;  // of the next key; 0: none
    for (const ConfigNode& item : root_.items) {
      const bool later = std::pair(item.key_at.line, item.key_at.column) > std::pair(node.at.line, node.at.column);
      if (!later) continue;
      if (item.key_at.line == node.at.line) return std::nullopt;
      end_line = end_line == 0 ? item.key_at.line : std::min(end_line, item.key_at.line);
    }
    std::string text;
    int line = 1, column = 1;
    for (const char c : sources_.files[0].text) {
      const bool kept = line > node.at.line || (line == node.at.line && column >= node.at.column);
      if (end_line > 0 && line >= end_line) break;
      const bool begins_character = (static_cast<unsigned char>(c) & 0xc0) != 0x80;
      if (c == '\n' || kept)
        text += c;
      else if (begins_character)
        text += ' ';
      column += begins_character ? 1 : 0;
      if (c == '\n') ++line, column = 1;
    }
    return text;
  }

  static void read_seeds(const ConfigNode& node, std::vector<uint64_t>& seeds, const ReportProblem& report) {
    seeds.clear();
    read_list(node, "[1, 2, 3]", report, [&](const ConfigNode& item) {
      const auto seed = Whole{}.read(item, report);
      if (!seed) return;
      const auto value = static_cast<uint64_t>(*seed);
      if (std::ranges::find(seeds, value) != seeds.end()) report(item.at, "the same seed twice", "");
      seeds.push_back(value);
    });
    if (node.kind == Kind::kSequence && node.items.empty()) report(node.at, "needs a seed at least", "");
  }

  void read_sizes(const ConfigNode& node, const ReportProblem& report) {
    read_list(node, "[4M, {name: small, layers: 4, hidden_size: 128}]", report, [&](const ConfigNode& item) {
      study::Size size;
      const Whole parameters = {1, kMostParameters}, width = {1, 1 << 20};
      if (item.kind == Kind::kMap) {
        read_map(item,
                 {{"name", [&](const ConfigNode& name,
                               const ReportProblem& inner) { size.name = read_name(name, inner).value_or("?"); }},
                  {"parameters", into(size.parameters, parameters)},
                  {"layers", into(size.layers, width)},
                  {"hidden_size", into(size.hidden_size, width)},
                  {"heads", into(size.heads, width)},
                  {"ffn_size", into(size.ffn_size, width)}},
                 report);
      } else if (const auto number = parameters.read(item, report)) {
        size.parameters = *number;
      } else {
        return;
      }
      add_size(item, size, report);
    });
  }

  void add_size(const ConfigNode& item, study::Size size, const ReportProblem& report) {
    const bool widths = size.layers > 0 || size.hidden_size > 0 || size.heads > 0 || size.ffn_size > 0;
    if (size.parameters > 0 && widths) return report(item.at, "has parameters and widths: give one of the two", "");
    if (size.parameters == 0 && (size.layers == 0 || size.hidden_size == 0 || size.name.empty()))
      return report(item.at, "needs parameters, or name, layers and hidden_size", "");
    if (size.name.empty()) size.name = study::short_number(static_cast<double>(size.parameters));
    for (const study::Size& other : study_.sizes)
      if (other.name == size.name)
        return report(item.at, "two sizes are called " + in_quotes(size.name) + ": give one another name", "");
    study_.sizes.push_back(std::move(size));
  }

  void read_budgets(const ConfigNode& node, const ReportProblem& report) {
    read_list(node, "[1e15, {flops: 3e15, sizes: [4M, 8M]}]", report, [&](const ConfigNode& item) {
      study::Budget budget;
      if (item.kind != Kind::kMap) {
        const auto flops = Amount::read(item, report);
        if (flops) study_.budgets.push_back({*flops, {}});
        return;
      }
      const auto read_names = [&](const ConfigNode& list, const ReportProblem& inner) {
        read_list(list, "[4M, 8M]", inner, [&](const ConfigNode& name) { add_size_name(name, budget.sizes, inner); });
      };
      read_map(item, {{"flops", into(budget.flops, Amount{})}, {"sizes", read_names}}, report);
      if (budget.flops <= 0) report(item.at, "needs its flops", "");
      study_.budgets.push_back(std::move(budget));
    });
  }

  void add_size_name(const ConfigNode& node, std::vector<std::string>& names, const ReportProblem& report) const {
    std::vector<std::string> known;
    for (const study::Size& size : study_.sizes) known.push_back(size.name);
    if (node.kind == Kind::kScalar && std::ranges::find(known, node.text) != known.end())
      return names.push_back(node.text);
    std::string all;
    for (const std::string& name : known) all += (all.empty() ? "" : ", ") + name;
    report(node.at, "expected a size (" + all + "), got " + describe(node),
           did_you_mean(nearest_word(node.text, known)));
  }

  void read_repeats(const ConfigNode& node, const ReportProblem& report) {
    read_list(node, "[{cell: 4M-x20, seeds: [2, 3]}]", report, [&](const ConfigNode& item) {
      study::Repeat repeat;
      const auto read_cell = [&](const ConfigNode& name, const ReportProblem& inner) {
        repeat.cell = read_name(name, inner).value_or("?");
      };
      const auto seeds = [&](const ConfigNode& list, const ReportProblem& inner) {
        read_seeds(list, repeat.seeds, inner);
      };
      read_map(item, {{"cell", read_cell}, {"seeds", seeds}}, report);
      if (repeat.cell.empty() || repeat.seeds.empty()) return report(item.at, "needs cell and seeds", "");
      study_.repeats.push_back(std::move(repeat));
    });
  }

  void read_rates(const ConfigNode& node, const ReportProblem& report) {
    read_list(node, "[{parameters: 125M, tokens_per_second: 600k}]", report, [&](const ConfigNode& item) {
      study::MeasuredRate rate;
      read_map(item,
               {{"parameters", into(rate.parameters, Amount{})},
                {"tokens_per_second", into(rate.tokens_per_second, Amount{})}},
               report);
      if (rate.parameters <= 0 || rate.tokens_per_second <= 0)
        return report(item.at, "needs parameters and tokens_per_second", "");
      study_.machine.rates.push_back(rate);
    });
  }

  const ConfigSources& sources_;
  const ReadBase& read_base_;
  ConfigNode root_;
  Study study_;
  std::string base_problem_;
  std::vector<ReadProblem> problems_;
};

}  // namespace

study::Study parse_study(const ConfigSources& sources, const ReadBase& read_base) {
  RETAIN_CHECK(!sources.files.empty(), "no study was read");
  return StudyReader(sources, read_base).read();
}

study::Study load_study(const std::string& path) {
  std::error_code error;
  const ConfigSources sources{.files = {{path, read_config_file(path)}},
                              .working_directory = std::filesystem::current_path(error).string(),
                              .variables = environment_variable};
  return parse_study(sources, [](const std::string& name, const std::optional<std::string>& text) {
    return (text ? load_config_text(name, *text, {}, 0) : load_config(name, {}, 0)).config;
  });
}

std::string run_config_text(const study::Run& run) {
  return concat("# ", run.name, " of a study, written by `retain study plan`.\n") +
         print_fields(
             config_fields(), [&](const Field& field) { return field.get(run.config); },
             [](const Field& field) { return field.doc; });
}

}  // namespace retain
