#include "launch/config/schema.h"

#include <algorithm>

#include "launch/config/fields.h"

// A key and its place: the member's name is the key's.
#define RETAIN_PLACE(member) ([](auto& config) -> auto& { return config.member; })
#define RETAIN_KEY(member) #member, RETAIN_PLACE(member)

namespace retain {

using namespace schema;

namespace {

using Names = std::vector<std::string>;

constexpr int64_t kLongestSequence = int64_t{1} << 40;
constexpr int64_t kLargestChunk = int64_t{1} << 20;  // whose scores, its square, are 4 TiB
constexpr int64_t kWidest = int64_t{1} << 24;
constexpr int64_t kMostRanks = 1'000'000;

class Table {
 public:
  std::vector<Field> fields;

  /// Adds a key with a function to its place in a Config, and the names that others use for it.
  template <class Member, class Kind>
  Field& add(std::string path, Member member, const Kind& kind, std::string unit, std::string doc,
             Names other_names = {}, Resume resume = Resume::kMayDiffer) {
    Field f;
    f.path = std::move(path);
    f.unit = std::move(unit);
    f.range = kind.range();
    f.doc = std::move(doc);
    f.other_names = std::move(other_names);
    f.resume = resume;
    f.names_entries = std::is_same_v<Kind, NamedPaths>;
    f.set = [member, kind](Config& config, const ConfigNode& node, const ReportProblem& report) {
      const auto value = kind.read(node, report);
      if (value) assign(member(config), *value);
      return value.has_value();
    };
    if constexpr (requires { &Kind::each_path; }) f.each_path = &Kind::each_path;
    f.get = [member, kind](const Config& config) { return kind.print(member(config)); };
    return fields.emplace_back(std::move(f));
  }
};

void add_model(Table& table) {
  const Real expansion = {.low = 0, .high = 64, .low_open = true};
  const auto add = [&](std::string path, auto member, const auto& kind, std::string unit, std::string doc,
                       Names other_names = {}) {
    table.add(std::move(path), member, kind, std::move(unit), std::move(doc), std::move(other_names),
              Resume::kMustAgree);
  };
  add(RETAIN_KEY(model.layers), Whole{1, 100'000}, "blocks", "retention and feed-forward blocks",
      {"num_layers", "n_layers", "n_layer", "num_hidden_layers", "depth"});
  add(RETAIN_KEY(model.hidden_size), Whole{1, kWidest}, "values", "width of the residual stream",
      {"hidden", "d_model", "dim", "width", "n_embd", "embed_dim"});
  add(RETAIN_KEY(model.heads), Whole{1, 65'536}, "heads", "retention heads of a block",
      {"num_heads", "n_heads", "n_head", "num_attention_heads", "retention_heads"});
  add(RETAIN_KEY(model.key_expansion), expansion, "", "width of all keys / hidden_size", {"expand_k"});
  add(RETAIN_KEY(model.value_expansion), expansion, "", "width of all values / hidden_size", {"expand_v"});
  add(RETAIN_KEY(model.ffn_size), Whole{1, kWidest}, "values", "inner width of the feed-forward part",
      {"ffn_dim", "ffn_hidden_size", "intermediate_size", "d_ff", "ffn_embed_dim"});
  add(RETAIN_KEY(model.ffn),
      Choice<FfnKind>{{{"swiglu", FfnKind::kSwiglu}, {"geglu", FfnKind::kGeglu}, {"gelu", FfnKind::kGelu}}}, "",
      "silu-gated, gelu-gated, or gelu and two matrices", {"hidden_act", "activation"});
  add(RETAIN_KEY(model.vocab_size), Whole{2, 2'147'483'647}, "tokens", "size of the vocabulary",
      {"vocab", "vocabulary", "vocabulary_size", "n_vocab"});
  add(RETAIN_KEY(model.tie_embeddings), OnOff{}, "", "the head's weight is the embedding's",
      {"tie_word_embeddings", "tied", "share_embeddings"});
  add(RETAIN_KEY(model.embedding_scale), kPositive, "", "factor on embedded tokens");
  add(RETAIN_KEY(model.embedding_norm), OnOff{}, "", "a norm after the embedding", {"layernorm_embedding"});
  add(RETAIN_KEY(model.norm_eps), kPositive, "", "epsilon of all norms", {"rms_norm_eps", "layernorm_eps"});
  add(RETAIN_KEY(model.head_norm_eps), Real{.low_open = true, .zero_word = "auto"}, "",
      "epsilon of the heads' norm; auto = norm_eps");
  add(RETAIN_KEY(model.decay), Choice<Decay>{{{"eq8", Decay::kEq8}, {"paper_exp", Decay::kPaperExp}}}, "",
      "gamma of a head: 1 - 2^(-5-h), or the paper's runs");
  add(RETAIN_KEY(model.rotary), Choice<Rotary>{{{"rope", Rotary::kRope}, {"torchscale", Rotary::kTorchscale}}}, "",
      "angles of the rotation");
  add(RETAIN_KEY(model.group_norm_eps),
      Choice<GroupNormEps>{{{"const", GroupNormEps::kConst}, {"rowsum", GroupNormEps::kRowsum}}}, "",
      "epsilon of a head's norm, or that of row sums");
  add(RETAIN_KEY(model.group_norm_affine), OnOff{}, "", "a learned weight in the heads' norm", {"elementwise_affine"});
  add(RETAIN_KEY(model.init_std), kPositive, "", "standard deviation of initial weights", {"initializer_range"});
  add(RETAIN_KEY(model.init),
      Choice<Init>{
          {{"normal", Init::kNormal}, {"depth_scaled", Init::kDepthScaled}, {"torchscale", Init::kTorchscale}}},
      "", "how initial weights are drawn", {"init_method", "initialization", "initializer"});
  add(RETAIN_KEY(model.base_width), Whole{1, kWidest, "none"}, "values", "hidden_size that rates were chosen at",
      {"mup_base_width", "base_hidden_size"});
}

void add_data_and_train(Table& table) {
  constexpr Resume kIfAllowed = Resume::kIfAllowed;
  table.add(RETAIN_KEY(data.tokenizer), TokenizerName{}, "", "bytes, or a tokenizer's folder or file", {}, kIfAllowed);
  table.add(RETAIN_KEY(data.train), Sources{}, "", "token shards and their shares of the mixture").example =
      "[{path: data/train, weight: 1}]";
  table.add(RETAIN_KEY(data.valid), NamedPaths{}, "", "to evaluate on; adds to a base file's, {} removes them",
            {"validation", "val", "test"});
  table.add(RETAIN_KEY(data.seq_len), Whole{1, kLongestSequence}, "tokens", "tokens of a training sequence",
            {"sequence_length", "seq_length", "context_length", "block_size", "max_seq_len"}, kIfAllowed);
  table.add(RETAIN_KEY(data.end_of_document), EndOfDocument{}, "", "ends a document; none: index borders alone",
            {"eod", "eos", "eos_token_id", "eod_token", "end_of_text"}, kIfAllowed);
  table.add(RETAIN_KEY(data.reset_state_at_documents), OnOff{}, "", "retention forgets at the start of a document", {},
            kIfAllowed);
  table.add(RETAIN_KEY(data.end_token_before_windows), OnOff{}, "", "an end token before windows in mid-document",
            {"add_bos", "prepend_bos", "bos"}, kIfAllowed);

  const Whole tokens = {1, kMostTokens};
  const Names tokens_names = {"total_tokens", "max_tokens", "train_tokens", "steps", "max_steps"};
  table.add(RETAIN_KEY(train.tokens), tokens, "tokens", "of the whole run", tokens_names).example = "100B";
  const Names batch_names = {"batch_size", "global_batch_size", "batch"};
  table.add(RETAIN_KEY(train.batch_tokens), tokens, "tokens", "of one optimizer step over all ranks", batch_names)
      .example = "4Mi";
  const Names micro_names = {"micro_batch_size", "micro_batch"};
  table.add(RETAIN_KEY(train.micro_batch_tokens), tokens, "tokens", "of one replica in one forward", micro_names)
      .example = "16Ki";
  Choice<Recompute> levels;
  for (const Recompute level : kRecomputeLevels) levels.values.emplace_back(recompute_name(level), level);
  table.add(RETAIN_KEY(train.recompute), levels, "", "what backward does again",
            {"activation_checkpointing", "gradient_checkpointing", "recompute_granularity"});
  table.add(RETAIN_KEY(train.segment_tokens), Whole{1, kLongestSequence, "auto"}, "tokens",
            "of a segment; auto: the most that fit");
  table.add(RETAIN_KEY(train.chunk), Whole{1, kLargestChunk, "auto"}, "tokens", "chunk of chunkwise retention",
            {"chunk_size"});
  table.add(RETAIN_KEY(train.graph),
            Choice<StepGraph>{{{"auto", StepGraph::kAuto}, {"on", StepGraph::kOn}, {"off", StepGraph::kOff}}}, "",
            "a GPU's step as CUDA graphs; auto: if small", {"cuda_graph", "cuda_graphs"});
}

void add_eval_and_optimizer(Table& table) {
  table.add(RETAIN_KEY(eval.every), Whole{}, "steps", "between evaluations; 0 = never", {"interval", "eval_interval"});
  table.add(RETAIN_KEY(eval.tokens), Whole{1, kMostTokens}, "tokens", "of each set in one evaluation");
  table.add(RETAIN_KEY(eval.loss_by_position), OnOff{}, "", "metrics say it of positions 0, 1, 2 to 3, 4 to 7, ...");
  table.add(RETAIN_KEY(eval.recurrent_every), Whole{}, "steps",
            "between comparisons with the recurrent form; 0 = never");

  const auto betas = [](auto& config) { return std::tie(config.optimizer.beta1, config.optimizer.beta2); };
  table.add(RETAIN_KEY(optimizer.lr), kPositive, "", "highest learning rate of AdamW",
            {"learning_rate", "max_lr", "peak_lr"});
  table.add("optimizer.betas", betas, TwoReals{{.low = 0, .high = 1, .high_open = true}}, "",
            "decay of AdamW's first and second moment", {"beta", "beta1", "beta2", "adam_betas"});
  table.add(RETAIN_KEY(optimizer.eps), kPositive, "", "epsilon of AdamW", {"epsilon"});
  table.add(RETAIN_KEY(optimizer.weight_decay), Real{}, "", "decoupled weight decay of matrices", {"wd"});
  table.add(RETAIN_KEY(optimizer.clip), Real{}, "", "largest norm of the whole gradient; 0 = no clipping",
            {"grad_clip", "clip_grad", "clip_norm", "max_grad_norm"});

  const Choice<ScheduleKind> kinds = {{{"linear", ScheduleKind::kLinear},
                                       {"cosine", ScheduleKind::kCosine},
                                       {"wsd", ScheduleKind::kWsd},
                                       {"constant", ScheduleKind::kConstant}}};
  table.add(RETAIN_KEY(schedule.kind), kinds, "", "how the learning rate falls after warm-up",
            {"lr_scheduler", "scheduler", "type"});
  table.add("schedule.warmup", RETAIN_PLACE(schedule.warmup_steps), Whole{}, "steps",
            "in which the learning rate rises", {"warmup_steps", "warmup_iters"});
  table.add(RETAIN_KEY(schedule.final), Real{.low = 0, .high = 1}, "", "learning rate at the end, as a fraction of lr",
            {"min_lr", "end", "final_lr"});
  table.add(RETAIN_KEY(schedule.decay_fraction), Real{.low = 0, .high = 1, .low_open = true}, "",
            "wsd: the last part of the run, in which the rate falls");
}

void add_parallel_and_checkpoint(Table& table) {
  table.add(RETAIN_KEY(parallel.dp), Whole{1, kMostRanks, "auto"}, "ranks", "replicas; auto = ranks / (cp tp)",
            {"data_parallel", "dp_size"});
  table.add(RETAIN_KEY(parallel.cp), Whole{1, kMostRanks}, "ranks", "that share a sequence",
            {"context_parallel", "cp_size", "sp"});
  table.add(RETAIN_KEY(parallel.tp), Whole{1, kMostRanks}, "ranks", "that share heads and columns",
            {"tensor_parallel", "tp_size", "model_parallel"});
  table.add(RETAIN_KEY(parallel.tp_chunks), Whole{1, 64, "auto"}, "chunks",
            "that tp exchanges rows in; auto = measured");
  table.add(RETAIN_KEY(parallel.zero), Whole{0, 2}, "",
            "1: the optimizer's state is cut over replicas; 2: gradients too", {"zero_stage"});
  const Choice<GradientType> types = {{{"fp32", GradientType::kFp32}, {"bf16", GradientType::kBf16}}};
  table.add(RETAIN_KEY(parallel.gradient_dtype), types, "", "in which replicas exchange gradients",
            {"grad_dtype", "reduce_dtype", "allreduce_dtype"});

  table.add(RETAIN_KEY(checkpoint.every), Whole{}, "steps", "between checkpoints; 0 = only at the end",
            {"interval", "save_interval", "save_every"});
  table.add(RETAIN_KEY(checkpoint.keep), Whole{1, 1'000'000}, "checkpoints", "newest that are kept", {"keep_last"});
  table.add(RETAIN_KEY(checkpoint.keep_every), Whole{}, "steps", "whose multiples are kept for ever; 0 = none");
  table.add(RETAIN_KEY(checkpoint.keep_best), Whole{0, 1'000'000}, "checkpoints",
            "kept for a low validation loss; 0 = none", {"save_best", "save_top_k"});
  table.add(RETAIN_KEY(checkpoint.async), OnOff{}, "", "write while training goes on", {"async_save"});
  table.add(RETAIN_KEY(checkpoint.on_error),
            Choice<OnSaveError>{{{"continue", OnSaveError::kContinue}, {"stop", OnSaveError::kStop}}}, "",
            "when a save fails, the run goes on or ends");
  table.add(RETAIN_KEY(checkpoint.free_before_save), OnOff{}, "", "delete what a save supersedes before it is written");
}

void add_numerics(Table& table) {
  table.add(RETAIN_KEY(numerics.max_skips), Whole{1, 1'000'000}, "updates",
            "skipped in a row before a rollback or the end");
  table.add(RETAIN_KEY(numerics.max_rollbacks), Whole{0, 1'000'000}, "rollbacks",
            "that may follow without a later checkpoint");
  table.add(RETAIN_KEY(numerics.on_spike),
            Choice<OnSpike>{{{"warn", OnSpike::kWarn}, {"skip", OnSpike::kSkip}, {"rollback", OnSpike::kRollBack}}}, "",
            "of the loss or the gradient's norm");
  table.add(RETAIN_KEY(numerics.spike_score), Real{.low = 1, .high = 1000}, "",
            "deviations above the median that are a spike");
  table.add(RETAIN_KEY(numerics.spike_window), Whole{32, 100'000}, "steps", "that median and deviation are taken of");
  table.add(RETAIN_KEY(numerics.check_replicas_every), Whole{}, "steps",
            "between comparisons of replicas' weights; 0 = never");
  table.add(RETAIN_KEY(numerics.replay_every), Whole{}, "steps", "between replays of a micro-batch; 0 = never");
}

}  // namespace

Named<DeviceKind> named_devices() {
  Named<DeviceKind> named;
  for (const DeviceKind device : {DeviceKind::kAuto, DeviceKind::kCpu, DeviceKind::kCuda})
    named.emplace_back(device_name(device), device);
  return named;
}
Named<Precision> named_precisions() {
  return {
      {"auto", Precision::kAuto}, {"bf16", Precision::kBf16}, {"fp32", Precision::kFp32}, {"fp64", Precision::kFp64}};
}

std::string Field::section() const {
  const size_t dot = path.find('.');
  return dot == std::string::npos ? "" : path.substr(0, dot);
}

std::string Field::name() const { return path.substr(path.find('.') + 1); }

std::vector<Field> config_fields() {
  Table table;
  table.add(RETAIN_KEY(run.dir), Path{}, "", "the run's directory: logs, metrics, checkpoints",
            {"output", "out_dir", "output_dir", "directory"});
  table.add(RETAIN_KEY(run.seed), Whole{}, "", "of initial weights and of the order of the data", {},
            Resume::kIfAllowed);
  add_model(table);
  add_data_and_train(table);
  add_eval_and_optimizer(table);
  add_parallel_and_checkpoint(table);
  add_numerics(table);
  table.add(RETAIN_KEY(log.every), Whole{1, kMostTokens}, "steps", "between lines of the log",
            {"interval", "log_interval"});
  table.add(RETAIN_KEY(log.norms_every), Whole{}, "steps", "between norms of each layer in metrics; 0 = never");
  table.add(RETAIN_KEY(log.prometheus), OptionalPath{}, "", "a file .prom for node_exporter's textfile collector",
            {"prometheus_file", "textfile"});
  table.add(RETAIN_KEY(limits.hang_timeout), HangTimeout{}, "seconds", "without progress, then exit code 70",
            {"watchdog_timeout", "timeout", "nccl_timeout"});
  table.add("limits.wall_time", RETAIN_PLACE(limits.wall_time_seconds), Duration{}, "seconds",
            "of one start; none = until its job ends", {"max_time", "time_limit"});
  table.add(RETAIN_KEY(device), Choice<DeviceKind>{named_devices()}, "", "auto = cuda when there is one");
  table.add(RETAIN_KEY(precision), Choice<Precision>{named_precisions()}, "", "auto = bf16 on cuda, fp32 on cpu",
            {"dtype"});
  return std::move(table.fields);
}

std::map<std::string, RunKey> run_keys(const Config& config) {
  std::map<std::string, RunKey> keys;
  for (const Field& field : config_fields()) keys[field.path] = {field.get(config), field.resume};
  return keys;
}

std::vector<std::string> changeable_keys() {
  Names keys;
  for (const Field& field : config_fields()) {
    if (field.path == "data.train") keys.push_back(kDataContents);
    if (field.resume == Resume::kIfAllowed) keys.push_back(field.path);
  }
  return keys;
}

std::string resume_table() {
  const std::vector<Field> fields = config_fields();
  const auto all_of = [&](const std::string& section, Resume resume) {
    return std::all_of(fields.begin(), fields.end(),
                       [&](const Field& f) { return f.section() != section || f.resume == resume; });
  };
  const auto keys_of = [&](Resume resume) {
    Names keys;
    for (const Field& field : fields) {
      const bool whole = !field.section().empty() && all_of(field.section(), resume);
      const std::string key = whole ? field.section() + ".*" : field.path;
      if (field.resume == resume && (keys.empty() || keys.back() != key)) keys.push_back(key);
    }
    return keys;
  };
  const std::string margin(24, ' ');
  std::string text = "What a resume may change; each change is said:";
  const auto add = [&](const std::string& title, const Names& keys) {
    std::string line = "\n  " + title + margin.substr(title.size() + 2);
    for (size_t i = 0; i < keys.size(); ++i) {
      const std::string word = keys[i] + (i + 1 < keys.size() ? "," : "");
      if (line.size() + 1 + word.size() > 78) {
        text += line;
        line = "\n" + margin.substr(1);
      }
      line += " " + word;
    }
    text += line;
  };
  add("freely", keys_of(Resume::kMayDiffer));
  add("with --allow-changed", changeable_keys());
  add("never", keys_of(Resume::kMustAgree));
  return text + "\n" + kDataContents + " is what the sets of data.train hold, and their weights.\n";
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
  return "# Every key of a configuration with its default. Written from the table in launch/config/schema.cpp.\n"
         "# Numbers take k, M, B (powers of 1000) and Ki, Mi, Gi (powers of 1024). Paths are relative to the working\n"
         "# directory; $VAR, ${VAR} and a leading ~ in them are expanded once. base: [other.yaml] at the top takes "
         "over the\n"
         "# values of other files; what stands here wins.\n" +
         print_fields(
             config_fields(), [&](const Field& f) { return f.example.empty() ? f.get(defaults) : f.example; },
             [](const Field& f) {
               std::string about = f.example.empty() ? "" : "required; ";
               if (!f.unit.empty()) about += f.unit + "; ";
               about += f.doc;
               if (!f.range.empty()) about += " (" + f.range + ")";
               return about;
             });
}

}  // namespace retain
