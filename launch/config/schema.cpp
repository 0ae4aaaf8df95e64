#include "launch/config/schema.h"

#include <algorithm>

#include "launch/config/fields.h"

namespace retain {

using namespace schema;

namespace {

constexpr int64_t kLongestSequence = int64_t{1} << 40;
constexpr int64_t kWidest = int64_t{1} << 24;
constexpr int64_t kMostRanks = 1'000'000;

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
  add(choice("model.ffn", at(&C::model, &M::ffn), {"swiglu", "geglu", "gelu"},
             "silu-gated, gelu-gated, or gelu and two matrices"),
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
  add(choice("model.decay", at(&C::model, &M::decay), {"eq8", "paper_exp"},
             "gamma of a head: 1 - 2^(-5-h), or the paper's runs"));
  add(choice("model.rotary", at(&C::model, &M::rotary), {"rope", "torchscale"}, "angles of the rotation"));
  add(choice("model.group_norm_eps", at(&C::model, &M::group_norm_eps), {"const", "rowsum"},
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

  add(choice("schedule.kind", at(&C::schedule, &ScheduleConfig::kind), {"linear", "cosine", "wsd", "constant"},
             "how the learning rate falls after warm-up"),
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
  add(choice("checkpoint.on_error", at(&C::checkpoint, &CheckpointConfig::on_error), {"continue", "stop"},
             "when a save fails, the run goes on or ends"));

  add(whole("log.every", at(&C::log, &LogConfig::every), {1, kMostTokens}, "steps", "between lines of the log"),
      {"interval", "log_interval"});

  add(choice("device", at(&C::device), choices(DeviceKind{}), "auto = cuda when there is one"));
  add(choice("precision", at(&C::precision), choices(Precision{}), "auto = bf16 on cuda, fp32 on cpu"), {"dtype"});
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
  return "# Every key of a configuration with its default. Written from the table in launch/config/schema.cpp.\n"
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
