#include "launch/config_schema.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/error.h"
#include "launch/config_value.h"
#include "launch/suggest.h"

namespace retain {
namespace {

using Names = std::vector<std::string>;

Names choices(FfnKind) { return {"swiglu", "geglu", "gelu"}; }
Names choices(GroupNormEps) { return {"const", "rowsum"}; }
Names choices(Decay) { return {"eq8", "paper_exp"}; }
Names choices(Rotary) { return {"rope", "torchscale"}; }
Names choices(OnSaveError) { return {"continue", "stop"}; }
Names choices(ScheduleKind) { return {"linear", "cosine", "wsd", "constant"}; }

std::string joined(const Names& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

/// One value of a Config: to be read and to be written.
template <class T>
struct Place {
  std::function<T&(Config&)> in;
  std::function<const T&(const Config&)> of;
};

template <class Section, class T>
Place<T> at(Section Config::*section, T Section::*member) {
  return {[=](Config& c) -> T& { return c.*section.*member; },
          [=](const Config& c) -> const T& { return c.*section.*member; }};
}

template <class T>
Place<T> at(T Config::*member) {
  return {[=](Config& c) -> T& { return c.*member; }, [=](const Config& c) -> const T& { return c.*member; }};
}

Field make_field(std::string path, std::string type, std::string doc) {
  Field field;
  field.path = std::move(path);
  field.type = std::move(type);
  field.doc = std::move(doc);
  return field;
}

/// The text of a plain (not quoted) scalar; reports what else stands there.
const std::string* plain_scalar(const ConfigNode& node, const std::string& expected, const ReportProblem& report) {
  if (node.kind == ConfigNode::Kind::kScalar && !node.quoted) return &node.text;
  if (node.kind == ConfigNode::Kind::kRefused) return nullptr;  // reported already
  report(node, "expected " + expected + ", got " + describe(node), node.quoted ? "write it without quotes" : "");
  return nullptr;
}

// ---- whole numbers ----

constexpr int64_t kMostTokens = 1'000'000'000'000'000'000;  // leaves room for sums
constexpr int64_t kLongestSequence = int64_t{1} << 40;
constexpr int64_t kWidest = int64_t{1} << 24;
constexpr int64_t kMostRanks = 1'000'000;

/// A `high` of kMostTokens or more is not worth telling.
struct Bounds {
  int64_t low = 0, high = std::numeric_limits<int64_t>::max();
  std::string describe() const { return high >= kMostTokens ? concat("at least ", low) : concat(low, " to ", high); }
};

/// `zero_word`: how 0 is written and also read ("auto"), or "".
template <class T>
Field whole(std::string path, Place<T> place, Bounds bounds, std::string unit, std::string doc,
            std::string zero_word = "") {
  Field f = make_field(std::move(path), "whole number", std::move(doc));
  f.unit = std::move(unit);
  const std::string range = bounds.describe();
  f.range = zero_word.empty() ? range : zero_word + " or " + range;
  f.set = [=](Config& config, const ConfigNode& node, const ReportProblem& report) {
    const std::string* text = plain_scalar(node, "a whole number", report);
    if (!text) return;
    if (!zero_word.empty() && *text == zero_word) {
      place.in(config) = 0;
      return;
    }
    std::string problem;
    const auto value = parse_whole(*text, problem);
    if (!value) {
      report(node, concat(problem, zero_word.empty() ? "" : ", or " + zero_word, ", got ", describe(node)), "");
    } else if (*value > bounds.high && bounds.high >= kMostTokens) {
      report(node, concat("expected at most ", bounds.high, ", got ", *text), "");
    } else if (*value < bounds.low || *value > bounds.high) {
      report(node, concat("expected ", zero_word.empty() ? "" : zero_word + " or ", range, ", got ", *text), "");
    } else {
      place.in(config) = static_cast<T>(*value);
    }
  };
  f.get = [=](const Config& config) {
    const T value = place.of(config);
    return value == 0 && !zero_word.empty() ? zero_word : std::to_string(value);
  };
  return f;
}

// ---- real numbers ----

struct Interval {
  double low = 0, high = std::numeric_limits<double>::max();
  bool low_open = false, high_open = false;
  bool holds(double x) const { return (low_open ? x > low : x >= low) && (high_open ? x < high : x <= high); }
  std::string describe() const {
    if (high == std::numeric_limits<double>::max()) return concat(low_open ? "above " : "at least ", low);
    return concat("in ", low_open ? "(" : "[", low, ", ", high, high_open ? ")" : "]");
  }
};

constexpr Interval kPositive = {.low_open = true};

bool read_real(const ConfigNode& node, const Interval& interval, const ReportProblem& report, double& value) {
  const std::string* text = plain_scalar(node, "a number", report);
  if (!text) return false;
  std::string problem;
  const auto read = parse_real(*text, problem);
  if (!read) {
    report(node, problem + ", got " + describe(node), "");
  } else if (!interval.holds(*read)) {
    report(node, "expected a number " + interval.describe() + ", got " + *text, "");
  } else {
    value = *read;
    return true;
  }
  return false;
}

Field real(std::string path, Place<double> place, Interval interval, std::string doc) {
  Field f = make_field(std::move(path), "real number", std::move(doc));
  f.range = interval.describe();
  f.set = [=](Config& config, const ConfigNode& node, const ReportProblem& report) {
    read_real(node, interval, report, place.in(config));
  };
  f.get = [=](const Config& config) { return print_real(place.of(config)); };
  return f;
}

Field betas() {
  Field f = make_field("optimizer.betas", "list of two real numbers", "decay of AdamW's first and second moment");
  f.range = "in [0, 1)";
  f.set = [](Config& config, const ConfigNode& node, const ReportProblem& report) {
    if (node.kind != ConfigNode::Kind::kSequence || node.items.size() != 2) {
      report(node,
             "expected a list of two numbers such as [0.9, 0.98], got " +
                 (node.kind == ConfigNode::Kind::kSequence ? concat("a list of ", node.items.size()) : describe(node)),
             "");
      return;
    }
    const Interval interval = {.low = 0, .high = 1, .high_open = true};
    read_real(node.items[0], interval, report, config.optimizer.beta1);
    read_real(node.items[1], interval, report, config.optimizer.beta2);
  };
  f.get = [](const Config& config) {
    return "[" + print_real(config.optimizer.beta1) + ", " + print_real(config.optimizer.beta2) + "]";
  };
  return f;
}

// ---- words ----

Field on_off(std::string path, Place<bool> place, std::string doc) {
  Field f = make_field(std::move(path), "true or false", std::move(doc));
  f.set = [=](Config& config, const ConfigNode& node, const ReportProblem& report) {
    const std::string* text = plain_scalar(node, "true or false", report);
    if (!text) return;
    if (*text == "true" || *text == "false")
      place.in(config) = *text == "true";
    else
      report(node, "expected true or false, got " + describe(node), "");
  };
  f.get = [=](const Config& config) { return place.of(config) ? "true" : "false"; };
  return f;
}

/// Enumerations start at 0 and have no holes.
template <class T>
Field choice(std::string path, Place<T> place, std::string doc) {
  const Names names = choices(T{});
  Field f = make_field(std::move(path), "one of " + joined(names), std::move(doc));
  f.set = [=](Config& config, const ConfigNode& node, const ReportProblem& report) {
    const std::string* text = plain_scalar(node, "one of " + joined(names), report);
    if (!text) return;
    const auto found = std::find(names.begin(), names.end(), *text);
    if (found != names.end()) {
      place.in(config) = static_cast<T>(found - names.begin());
      return;
    }
    const std::string nearest = nearest_word(*text, names);
    report(node, "expected one of " + joined(names) + ", got " + describe(node),
           nearest.empty() ? "" : "did you mean '" + nearest + "'?");
  };
  f.get = [=](const Config& config) { return names.at(static_cast<size_t>(place.of(config))); };
  return f;
}

/// Reads text without control characters; of a path also one that no shell would have expanded.
bool read_text(const ConfigNode& node, bool is_path, const ReportProblem& report, std::string& value) {
  const char* what = is_path ? "a path" : "a name";
  const auto is_control = [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; };
  if (node.kind != ConfigNode::Kind::kScalar || node.text.empty()) {
    report(node, concat("expected ", what, ", got ", describe(node)), "");
  } else if (std::any_of(node.text.begin(), node.text.end(), is_control)) {
    report(node, concat("expected ", what, " without control characters, got ", describe(node)), "");
  } else if (is_path && (node.text == "~" || node.text.starts_with("~/"))) {
    report(node, "'~' is not expanded: write the whole path", "");
  } else {
    value = node.text;
    return true;
  }
  return false;
}

Field text(std::string path, Place<std::string> place, bool is_path, std::string doc) {
  Field f = make_field(std::move(path), is_path ? "path" : "name", std::move(doc));
  f.set = [=](Config& config, const ConfigNode& node, const ReportProblem& report) {
    read_text(node, is_path, report, place.in(config));
  };
  f.get = [=](const Config& config) { return print_text(place.of(config)); };
  return f;
}

// ---- data sets ----

bool read_source(const ConfigNode& node, const ReportProblem& report, DataSource& source) {
  if (node.kind != ConfigNode::Kind::kMap) {
    if (node.kind != ConfigNode::Kind::kRefused)
      report(node, "expected {path: …, weight: …}, got " + describe(node), "");
    return false;
  }
  bool good = true, has_path = false;
  for (size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& key = node.keys[i].name;
    const ConfigNode& value = node.items[i];
    if (value.kind == ConfigNode::Kind::kRefused) {
      good = false;
    } else if (key == "path") {
      has_path = true;
      good = read_text(value, true, report, source.path) && good;
    } else if (key == "weight") {
      good = read_real(value, kPositive, report, source.weight) && good;
    } else {
      ConfigNode at;
      at.at = node.keys[i].at;
      at.text = key;
      at.kind = ConfigNode::Kind::kScalar;
      const std::string nearest = nearest_word(key, {"path", "weight"});
      report(at, "expected the keys path and weight, got " + describe(at),
             nearest.empty() ? "" : "did you mean '" + nearest + "'?");
      good = false;
    }
  }
  if (good && !has_path) report(node, "has no path", "");
  return good && has_path;
}

Field train_sources() {
  Field f = make_field("data.train", "list of {path, weight}", "token shards and their shares of the mixture");
  f.example = "[{path: data/train, weight: 1}]";
  f.set = [](Config& config, const ConfigNode& node, const ReportProblem& report) {
    if (node.kind != ConfigNode::Kind::kSequence) {
      report(node, "expected a list such as [{path: data/train, weight: 1}], got " + describe(node), "");
      return;
    }
    std::vector<DataSource> sources(node.items.size());
    bool good = true;
    for (size_t i = 0; i < sources.size(); ++i) good = read_source(node.items[i], report, sources[i]) && good;
    if (good) config.data.train = std::move(sources);
  };
  f.get = [](const Config& config) {
    std::string out;
    for (const DataSource& source : config.data.train)
      out += (out.empty() ? "{path: " : ", {path: ") + print_text(source.path) +
             ", weight: " + print_real(source.weight) + "}";
    return "[" + out + "]";
  };
  return f;
}

Field valid_sets() {
  Field f = make_field("data.valid", "map from name to path", "to evaluate on; adds to a base file's, {} removes them");
  f.names_entries = true;
  f.set = [](Config& config, const ConfigNode& node, const ReportProblem& report) {
    if (node.kind != ConfigNode::Kind::kMap) {
      report(node, "expected a map such as {book: data/book}, got " + describe(node), "");
      return;
    }
    if (node.keys.empty()) config.data.valid.clear();
    for (size_t i = 0; i < node.keys.size(); ++i) {
      std::string path;
      if (node.items[i].kind != ConfigNode::Kind::kRefused && read_text(node.items[i], true, report, path))
        config.data.valid[node.keys[i].name] = path;
    }
  };
  f.get = [](const Config& config) {
    std::string out;
    for (const auto& [name, path] : config.data.valid)
      out += (out.empty() ? "" : ", ") + print_text(name) + ": " + print_text(path);
    return "{" + out + "}";
  };
  return f;
}

/// The same field, which must be given: `example` stands in reference.yaml.
Field required(Field f, std::string example) {
  f.example = std::move(example);
  return f;
}

/// The same field with the names that others use for it.
Field known_as(Field f, Names other_names) {
  f.other_names = std::move(other_names);
  return f;
}

void add_model(std::vector<Field>& fields) {
  using C = Config;
  using M = ModelConfig;
  const Interval expansion = {.low = 0, .high = 64, .low_open = true};
  const auto add = [&](Field f, Names names = {}) { fields.push_back(known_as(std::move(f), std::move(names))); };
  add(whole("model.layers", at(&C::model, &M::layers), {1, 100'000}, "blocks", "retention and feed-forward blocks"),
      {"num_layers", "n_layers", "n_layer", "num_hidden_layers", "depth"});
  add(whole("model.hidden_size", at(&C::model, &M::hidden_size), {1, kWidest}, "values",
            "width of the residual stream"),
      {"hidden", "d_model", "dim", "width", "n_embd", "embed_dim"});
  add(whole("model.heads", at(&C::model, &M::heads), {1, 65'536}, "heads", "retention heads of a block"),
      {"num_heads", "n_heads", "n_head", "num_attention_heads", "retention_heads"});
  add(real("model.key_expansion", at(&C::model, &M::key_expansion), expansion, "width of all keys / hidden_size"),
      {"expand_k"});
  add(real("model.value_expansion", at(&C::model, &M::value_expansion), expansion, "width of all values / hidden_size"),
      {"expand_v"});
  add(whole("model.ffn_size", at(&C::model, &M::ffn_size), {1, kWidest}, "values",
            "inner width of the feed-forward part"),
      {"ffn_dim", "ffn_hidden_size", "intermediate_size", "d_ff", "ffn_embed_dim"});
  add(choice("model.ffn", at(&C::model, &M::ffn), "silu-gated, gelu-gated, or gelu and two matrices"),
      {"hidden_act", "activation"});
  add(whole("model.vocab_size", at(&C::model, &M::vocab_size), {2, 2'147'483'647}, "tokens", "size of the vocabulary"),
      {"vocab", "vocabulary", "vocabulary_size", "n_vocab"});
  add(on_off("model.tie_embeddings", at(&C::model, &M::tie_embeddings), "the head's weight is the embedding's"),
      {"tie_word_embeddings", "tied", "share_embeddings"});
  add(real("model.embedding_scale", at(&C::model, &M::embedding_scale), kPositive, "factor on embedded tokens"));
  add(on_off("model.embedding_norm", at(&C::model, &M::embedding_norm), "a norm after the embedding"),
      {"layernorm_embedding"});
  add(real("model.norm_eps", at(&C::model, &M::norm_eps), kPositive, "epsilon of all norms"),
      {"rms_norm_eps", "layernorm_eps"});
  add(choice("model.decay", at(&C::model, &M::decay), "gamma of a head: 1 - 2^(-5-h), or the paper's runs"));
  add(choice("model.rotary", at(&C::model, &M::rotary), "angles of the rotation"));
  add(choice("model.group_norm_eps", at(&C::model, &M::group_norm_eps),
             "epsilon of a head's norm, or that of row sums"));
  add(on_off("model.group_norm_affine", at(&C::model, &M::group_norm_affine), "a learned weight in the heads' norm"),
      {"elementwise_affine"});
  add(real("model.init_std", at(&C::model, &M::init_std), kPositive, "standard deviation of initial weights"),
      {"initializer_range"});
}

}  // namespace

Names choices(DeviceKind) { return {"auto", "cpu", "cuda"}; }
Names choices(Precision) { return {"auto", "bf16", "fp32", "fp64"}; }

std::string Field::section() const {
  const size_t dot = path.find('.');
  return dot == std::string::npos ? "" : path.substr(0, dot);
}

std::string Field::name() const { return path.substr(path.find('.') + 1); }

std::vector<Field> config_fields() {
  using C = Config;
  const Interval unit_interval = {.low = 0, .high = 1};
  const Interval at_least_zero = {};
  std::vector<Field> fields;
  const auto add = [&](Field f, Names names = {}) { fields.push_back(known_as(std::move(f), std::move(names))); };

  add(text("run.dir", at(&C::run, &RunConfig::dir), true, "the run's directory: logs, metrics, checkpoints"),
      {"output", "out_dir", "output_dir", "directory"});
  add(whole("run.seed", at(&C::run, &RunConfig::seed), {}, "", "of initial weights and of the order of the data"));

  add_model(fields);

  add(text("data.tokenizer", at(&C::data, &DataConfig::tokenizer), false, "how text became tokens: bytes"));
  add(train_sources());
  add(valid_sets(), {"validation", "val", "test"});
  add(whole("data.seq_len", at(&C::data, &DataConfig::seq_len), {1, kLongestSequence}, "tokens",
            "tokens of a training sequence"),
      {"sequence_length", "seq_length", "context_length", "block_size", "max_seq_len"});
  add(on_off("data.reset_state_at_documents", at(&C::data, &DataConfig::reset_state_at_documents),
             "retention forgets at the start of a document"));

  add(required(
          whole("train.tokens", at(&C::train, &TrainConfig::tokens), {1, kMostTokens}, "tokens", "of the whole run"),
          "100B"),
      {"total_tokens", "max_tokens", "train_tokens", "steps", "max_steps"});
  add(required(whole("train.batch_tokens", at(&C::train, &TrainConfig::batch_tokens), {1, kMostTokens}, "tokens",
                     "of one optimizer step over all ranks"),
               "4Mi"),
      {"batch_size", "global_batch_size", "batch"});
  add(required(whole("train.micro_batch_tokens", at(&C::train, &TrainConfig::micro_batch_tokens), {1, kMostTokens},
                     "tokens", "of one replica in one forward"),
               "16Ki"),
      {"micro_batch_size", "micro_batch"});
  add(whole("train.chunk", at(&C::train, &TrainConfig::chunk), {1, kLongestSequence}, "tokens",
            "chunk of chunkwise retention", "auto"),
      {"chunk_size"});

  add(whole("eval.every", at(&C::eval, &EvalConfig::every), {}, "steps", "between evaluations; 0 = never"),
      {"interval", "eval_interval"});
  add(whole("eval.tokens", at(&C::eval, &EvalConfig::tokens), {1, kMostTokens}, "tokens",
            "of each set in one evaluation"));

  add(real("optimizer.lr", at(&C::optimizer, &OptimizerConfig::lr), kPositive, "highest learning rate of AdamW"),
      {"learning_rate", "max_lr", "peak_lr"});
  add(betas(), {"beta", "beta1", "beta2", "adam_betas"});
  add(real("optimizer.eps", at(&C::optimizer, &OptimizerConfig::eps), kPositive, "epsilon of AdamW"), {"epsilon"});
  add(real("optimizer.weight_decay", at(&C::optimizer, &OptimizerConfig::weight_decay), at_least_zero,
           "decoupled weight decay of matrices"),
      {"wd"});
  add(real("optimizer.clip", at(&C::optimizer, &OptimizerConfig::clip), at_least_zero,
           "largest norm of the whole gradient; 0 = no clipping"),
      {"grad_clip", "clip_grad", "clip_norm", "max_grad_norm"});

  add(choice("schedule.kind", at(&C::schedule, &ScheduleConfig::kind), "how the learning rate falls after warm-up"),
      {"lr_scheduler", "scheduler", "type"});
  add(whole("schedule.warmup", at(&C::schedule, &ScheduleConfig::warmup_steps), {}, "steps",
            "in which the learning rate rises"),
      {"warmup_steps", "warmup_iters"});
  add(real("schedule.final", at(&C::schedule, &ScheduleConfig::final), unit_interval,
           "learning rate at the end, as a fraction of lr"),
      {"min_lr", "end", "final_lr"});
  add(real("schedule.decay_fraction", at(&C::schedule, &ScheduleConfig::decay_fraction),
           {.low = 0, .high = 1, .low_open = true}, "wsd: the last part of the run, in which the rate falls"));

  add(whole("parallel.dp", at(&C::parallel, &ParallelConfig::dp), {1, kMostRanks}, "ranks",
            "replicas; auto = ranks / (cp tp)", "auto"),
      {"data_parallel", "dp_size"});
  add(whole("parallel.cp", at(&C::parallel, &ParallelConfig::cp), {1, kMostRanks}, "ranks", "that share a sequence"),
      {"context_parallel", "cp_size", "sp"});
  add(whole("parallel.tp", at(&C::parallel, &ParallelConfig::tp), {1, kMostRanks}, "ranks",
            "that share heads and columns"),
      {"tensor_parallel", "tp_size", "model_parallel"});
  add(whole("parallel.zero", at(&C::parallel, &ParallelConfig::zero), {0, 1}, "",
            "1: the optimizer's state is cut over the replicas"),
      {"zero_stage"});

  add(whole("checkpoint.every", at(&C::checkpoint, &CheckpointConfig::every), {}, "steps",
            "between checkpoints; 0 = only at the end"),
      {"interval", "save_interval", "save_every"});
  add(whole("checkpoint.keep", at(&C::checkpoint, &CheckpointConfig::keep), {1, 1'000'000}, "checkpoints",
            "newest that are kept"),
      {"keep_last"});
  add(whole("checkpoint.keep_every", at(&C::checkpoint, &CheckpointConfig::keep_every), {}, "steps",
            "whose multiples are kept for ever; 0 = none"));
  add(whole("checkpoint.keep_best", at(&C::checkpoint, &CheckpointConfig::keep_best), {0, 1'000'000}, "checkpoints",
            "kept for a low validation loss; 0 = none"),
      {"save_best", "save_top_k"});
  add(on_off("checkpoint.async", at(&C::checkpoint, &CheckpointConfig::async), "write while training goes on"),
      {"async_save"});
  add(choice("checkpoint.on_error", at(&C::checkpoint, &CheckpointConfig::on_error),
             "when a save fails, the run goes on or ends"));

  add(whole("log.every", at(&C::log, &LogConfig::every), {1, kMostTokens}, "steps", "between lines of the log"),
      {"interval", "log_interval"});

  add(choice("device", at(&C::device), "auto = cuda when there is one"));
  add(choice("precision", at(&C::precision), "auto = bf16 on cuda, fp32 on cpu"), {"dtype"});
  return fields;
}

std::string print_fields(const std::vector<Field>& fields, const std::function<std::string(const Field&)>& value,
                         const std::function<std::string(const Field&)>& comment) {
  constexpr size_t kCommentColumn = 42;
  std::string out, section;
  for (const Field& field : fields) {
    if (field.section() != section) {
      section = field.section();
      out += section.empty() ? "\n" : "\n" + section + ":\n";
    }
    std::string line = (section.empty() ? "" : "  ") + field.name() + ": " + value(field);
    line.resize(std::max(line.size() + 2, kCommentColumn), ' ');
    out += line + "# " + comment(field) + "\n";
  }
  return out;
}

std::string reference_yaml() {
  const Config defaults;
  return "# Every key of a configuration with its default. Written from the table in launch/config_schema.cpp.\n"
         "# Numbers take k, M, B (powers of 1000) and Ki, Mi, Gi (powers of 1024). Paths are relative to the working\n"
         "# directory. base: [other.yaml] at the top takes over the values of other files; what stands here wins.\n" +
         print_fields(
             config_fields(), [&](const Field& f) { return f.example.empty() ? f.get(defaults) : f.example; },
             [](const Field& f) {
               std::string about = f.example.empty() ? "" : "required; ";
               if (!f.unit.empty()) about += f.unit + "; ";
               about += f.doc;
               if (f.type.starts_with("one of ")) about += " (" + f.type.substr(7) + ")";
               if (!f.range.empty()) about += " (" + f.range + ")";
               return about;
             });
}

}  // namespace retain
