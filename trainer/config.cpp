#include "trainer/config.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/core/error.h"
#include "trainer/optimizer/schedule.h"

namespace retain {
namespace {

using Problems = std::vector<ConfigProblem>;

constexpr int64_t kByteVocabulary = 257;  // 256 bytes and end-of-document
constexpr size_t kMostListed = 8;         // of divisors or layouts in a message
// Beyond these a plan would take longer to make than anybody waits for it.
constexpr int64_t kMostMicroBatches = 1'000'000;  // of one replica in a step
constexpr double kMostParameters = 1e15;
constexpr double kMostBytes = 4.6e18;  // 2^62: sums of two still have their 64 bits

void add(Problems& problems, const char* key, std::string message, std::vector<std::string> other_keys = {}) {
  problems.push_back({key, std::move(message), std::move(other_keys)});
}

/// Items joined by ", "; cut off after kMostListed.
std::string listed(const std::vector<std::string>& items) {
  std::string text;
  for (size_t i = 0; i < items.size() && i < kMostListed; ++i) text += (i ? ", " : "") + items[i];
  return items.size() > kMostListed ? text + ", …" : text;
}

std::string divisors(int64_t value) {
  std::vector<std::string> found, large;
  for (int64_t d = 1; d <= value / d; ++d) {
    if (value % d != 0) continue;
    found.push_back(std::to_string(d));
    if (d != value / d) large.push_back(std::to_string(value / d));
  }
  found.insert(found.end(), large.rbegin(), large.rend());
  return listed(found);
}

/// The multiples of `unit` on both sides of a value that is not one.
std::string neighbours(int64_t value, int64_t unit) {
  const int64_t below = value / unit * unit;
  return below > 0 ? concat("nearest: ", below, ", ", below + unit) : concat("nearest: ", below + unit);
}

/// A width of all heads together that comes from an expansion factor: whole, and the same whole number for each head.
bool check_expansion(Problems& problems, const char* key, double expansion, const ModelConfig& m, const char* what) {
  const double width = expansion * static_cast<double>(m.hidden_size);
  const double whole = std::floor(width + 0.5);
  std::vector<std::string> others = {"model.hidden_size", "model.heads"};
  if (std::abs(width - whole) > 1e-6 * std::max(1.0, width) || whole < 1 || whole > 1e12) {
    add(problems, key, concat("= ", expansion, " times model.hidden_size = ", m.hidden_size, " is no whole width"),
        others);
    return false;
  }
  const auto total = static_cast<int64_t>(whole);
  if (total % m.heads == 0) return true;
  add(problems, key,
      concat("= ", expansion, " gives ", what, " of width ", total, ", which model.heads = ", m.heads,
             " does not divide (legal: ", divisors(total), ")"),
      others);
  return false;
}

double parameter_count(const ModelConfig& m) {
  const double d = static_cast<double>(m.hidden_size), matrices = m.ffn == FfnKind::kGelu ? 2 : 3;
  const double block =
      d * (d * (2 * m.key_expansion + 3 * m.value_expansion) + matrices * static_cast<double>(m.ffn_size));
  return static_cast<double>(m.layers) * block + 2 * d * static_cast<double>(m.vocab_size);
}

void check_model(Problems& problems, const ModelConfig& m) {
  RETAIN_CHECK(m.layers > 0 && m.hidden_size > 0 && m.heads > 0 && m.key_expansion > 0 && m.value_expansion > 0,
               "layers=", m.layers, " hidden_size=", m.hidden_size, " heads=", m.heads);
  if (m.ffn_size < 1) add(problems, "model.ffn_size", concat("must be at least 1, is ", m.ffn_size));  // a ratio's
  if (check_expansion(problems, "model.key_expansion", m.key_expansion, m, "keys")) {
    const int64_t key_dim = m.key_dim();
    const std::vector<std::string> others = {"model.hidden_size", "model.heads", "model.rotary"};
    if (key_dim % 2 != 0)
      add(problems, "model.key_expansion",
          concat("gives ", key_dim, " key values a head; the rotation needs an even number"), others);
    else if (m.rotary == Rotary::kTorchscale && key_dim <= 2)
      add(problems, "model.rotary",
          "= torchscale needs more than 2 key values a head (its last angle divides by half of them minus one)",
          {"model.hidden_size", "model.heads", "model.key_expansion"});
  }
  check_expansion(problems, "model.value_expansion", m.value_expansion, m, "values");
  if (m.init == Init::kTorchscale && m.init_std != ModelConfig().init_std)
    add(problems, "model.init_std",
        concat("= ", m.init_std, " decides nothing with model.init = torchscale, whose gains do (legal: ",
               ModelConfig().init_std, ", or another model.init)"),
        {"model.init"});
  if (parameter_count(m) > kMostParameters)
    add(problems, "model.layers",
        concat("and the widths give ", parameter_count(m), " parameters; the most that can be counted is 1e15"),
        {"model.hidden_size", "model.ffn_size", "model.vocab_size", "model.key_expansion", "model.value_expansion"});
}

void check_log(Problems& problems, const LogConfig& log) {
  if (log.prometheus != kNoFile && !log.prometheus.ends_with(".prom"))
    add(problems, "log.prometheus", concat("must end in .prom, or nothing reads it: is ", log.prometheus));
}

void check_data(Problems& problems, const Config& c) {
  if (c.data.tokenizer == "bytes" && c.model.vocab_size < kByteVocabulary)  // others are looked at with the data
    add(problems, "model.vocab_size",
        concat("= ", c.model.vocab_size, " is too small for data.tokenizer = bytes, which needs ", kByteVocabulary,
               " (256 bytes and end-of-document)"),
        {"data.tokenizer"});
  if (c.data.end_of_document >= c.model.vocab_size)
    add(problems, "data.end_of_document",
        concat("= ", c.data.end_of_document, " is outside model.vocab_size = ", c.model.vocab_size, ", which must be ",
               c.data.end_of_document + 1, " or more"),
        {"model.vocab_size"});
  if (c.data.end_token_before_windows && c.data.end_of_document == kEndOfDocumentNone)
    add(problems, "data.end_token_before_windows", "= true needs an end token, but data.end_of_document = none",
        {"data.end_of_document"});
  if (c.data.end_token_before_windows && c.data.seq_len < 2)
    add(problems, "data.end_token_before_windows",
        concat("= true takes the first of data.seq_len = ", c.data.seq_len, " tokens; it must be at least 2"),
        {"data.seq_len"});
  if (c.data.train.empty()) add(problems, "data.train", "is required: a list such as [{path: data/train, weight: 1}]");
  for (const auto& [name, path] : c.data.valid) {
    const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char ch) {
      return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-';
    });
    if (!plain)
      add(problems, "data.valid",
          "has a name with other characters than letters, digits, _ and - (it names the metric)");
  }
  if (c.data.seq_len < 1) add(problems, "data.seq_len", concat("must be at least 1, is ", c.data.seq_len));
}

/// The layouts that this model, sequence and batch allow on so many ranks.
std::string legal_layouts(const Config& c, int ranks) {
  const auto batch_allows = [&](int64_t dp) {
    const int64_t replica = c.train.micro_batch_tokens;
    return replica < 1 || c.train.batch_tokens < 1 || dp <= c.train.batch_tokens / replica;
  };
  std::vector<std::string> found, with_another_batch;
  for (int tp = 1; tp <= ranks; ++tp) {
    if (ranks % tp != 0 || c.model.heads % tp != 0 || c.model.ffn_size % tp != 0) continue;
    for (int cp = 1; cp <= ranks / tp; ++cp) {
      if (ranks / tp % cp != 0 || c.data.seq_len % cp != 0) continue;
      const MeshShape shape{ranks / tp / cp, cp, tp};
      (batch_allows(shape.dp) ? found : with_another_batch).push_back(shape.describe());
    }
  }
  if (!found.empty()) return listed(found);
  if (with_another_batch.empty()) return "none with this model and data.seq_len";
  return "with train.batch_tokens of at least dp micro-batches " + listed(with_another_batch);
}

/// Returns dp, or 0 when the layout is wrong.
int check_parallel(Problems& problems, const Config& c, int ranks) {
  const ParallelConfig& p = c.parallel;
  const size_t before = problems.size();
  RETAIN_CHECK(p.dp >= 0 && p.cp > 0 && p.tp > 0 && c.data.seq_len > 0, "dp=", p.dp, " cp=", p.cp, " tp=", p.tp,
               " seq_len=", c.data.seq_len);
  const std::string legal = legal_tensor_parallel(c.model);
  if (c.model.heads % p.tp != 0)
    add(problems, "parallel.tp",
        concat("= ", p.tp, " does not divide model.heads = ", c.model.heads, " (legal: ", legal, ")"),
        {"model.heads", "model.ffn_size"});
  if (c.model.ffn_size % p.tp != 0)
    add(problems, "parallel.tp",
        concat("= ", p.tp, " does not divide model.ffn_size = ", c.model.ffn_size, " (legal: ", legal, ")"),
        {"model.heads", "model.ffn_size"});
  if (c.data.seq_len % p.cp != 0)
    add(problems, "parallel.cp",
        concat("= ", p.cp, " does not divide data.seq_len = ", c.data.seq_len, " (legal: ", divisors(c.data.seq_len),
               "; ", neighbours(c.data.seq_len, p.cp), ")"),
        {"data.seq_len"});

  const int64_t inner = int64_t{p.cp} * p.tp, wanted = p.dp ? inner * p.dp : inner;
  if (p.dp == 0 ? ranks % inner == 0 : wanted == ranks)
    return problems.size() > before ? 0 : static_cast<int>(ranks / inner);
  const char* key = p.dp ? "parallel.dp" : p.tp > 1 ? "parallel.tp" : "parallel.cp";
  const std::string with = p.dp       ? concat(p.dp, " with cp = ", p.cp, " and tp = ", p.tp)
                           : p.tp > 1 ? concat(p.tp, " with cp = ", p.cp)
                                      : concat(p.cp, " with tp = 1");
  const std::string asked = concat(p.dp ? "" : "a multiple of ", wanted, wanted == 1 ? " rank" : " ranks");
  add(problems, key,
      concat("= ", with, " needs ", asked, ", but there ", ranks == 1 ? "is " : "are ", ranks,
             " (legal: ", legal_layouts(c, ranks), ")"),
      {"parallel.dp", "parallel.cp", "parallel.tp", "model.heads", "model.ffn_size", "data.seq_len"});
  return 0;
}

/// What would give each replica a micro-batch.
std::string legal_dealings(const Config& c, int64_t dp) {
  const int64_t batch = c.train.batch_tokens, micro = c.train.micro_batch_tokens;
  std::string text = concat("dp of 1 to ", batch / micro);
  int64_t larger = 0;
  if (!__builtin_mul_overflow(dp, micro, &larger)) text += concat(", a batch of at least ", larger, " tokens");
  const int64_t smaller = batch / dp / c.data.seq_len * c.data.seq_len;
  return smaller > 0 ? text + concat(", micro-batches of at most ", smaller) : text;
}

void check_train(Problems& problems, const Config& c, int dp) {
  const TrainConfig& t = c.train;
  const auto required = [&](const char* key, int64_t value, const char* what) {
    if (value == 0) add(problems, key, concat("is required: ", what));
    return value > 0;
  };
  required("train.tokens", t.tokens, "how many tokens the run trains on");
  const bool batch = required("train.batch_tokens", t.batch_tokens, "tokens of one optimizer step over the whole mesh");
  const bool micro = required("train.micro_batch_tokens", t.micro_batch_tokens, "tokens of one replica in one forward");

  if (micro && t.micro_batch_tokens % c.data.seq_len != 0)
    add(problems, "train.micro_batch_tokens",
        concat("= ", t.micro_batch_tokens, " is no multiple of data.seq_len = ", c.data.seq_len, " (",
               neighbours(t.micro_batch_tokens, c.data.seq_len), ")"),
        {"data.seq_len"});
  if (!batch || !micro) return;
  if (t.batch_tokens % t.micro_batch_tokens != 0)
    add(problems, "train.batch_tokens",
        concat("= ", t.batch_tokens, " is no multiple of train.micro_batch_tokens = ", t.micro_batch_tokens, " (",
               neighbours(t.batch_tokens, t.micro_batch_tokens), ")"),
        {"train.micro_batch_tokens"});
  else if (const int64_t micro_batches = t.batch_tokens / t.micro_batch_tokens; dp > micro_batches)
    add(problems, "train.batch_tokens",
        concat("= ", t.batch_tokens, " holds ", micro_batches, " micro-batches of train.micro_batch_tokens = ",
               t.micro_batch_tokens, ", fewer than the dp = ", dp, " replicas (legal: ", legal_dealings(c, dp), ")"),
        {"train.micro_batch_tokens", "parallel.dp", "parallel.cp", "parallel.tp"});
}

void check_segments(Problems& problems, const Config& c) {
  const int64_t tokens = c.train.segment_tokens;
  if (tokens == 0) return;
  if (c.train.recompute != Recompute::kSegment)
    add(problems, "train.segment_tokens",
        concat("= ", tokens, " cuts nothing with train.recompute = ", recompute_name(c.train.recompute),
               " (legal: auto, or any with train.recompute = segment)"),
        {"train.recompute"});
  else if (tokens < c.data.seq_len && tokens % c.parallel.cp != 0)
    add(problems, "train.segment_tokens",
        concat("= ", tokens, " is no multiple of parallel.cp = ", c.parallel.cp, " (",
               neighbours(tokens, c.parallel.cp), ")"),
        {"parallel.cp", "data.seq_len"});
}

void check_graph(Problems& problems, const Config& c, int ranks) {
  if (c.train.graph == StepGraph::kOn && ranks > 1)
    add(problems, "train.graph",
        concat("= on with ", ranks, " ranks: what they exchange is not recorded (legal: auto, off)"));
}

/// More than what the layers, and the exchanges between their parts, move for one token: of each layer the columns of
/// all its activations and gradients, and its share of a chunk's state, in the widest type.
double most_bytes_a_token(const Config& c) {
  const ModelConfig& m = c.model;
  const auto d = static_cast<double>(m.hidden_size), ffn = static_cast<double>(m.ffn_size);
  const double keys = m.key_expansion * d, values = m.value_expansion * d;
  int64_t chunk = std::min(c.data.seq_len, c.train.chunk > 0 ? c.train.chunk : 64);
  if (c.train.segment_tokens > 0) chunk = std::min(chunk, c.train.segment_tokens);
  const double state = keys * values / static_cast<double>(m.heads) / static_cast<double>(chunk);
  const double columns = 8 * d + 4 * keys + 6 * values + 6 * ffn + 2 * state;
  return 8 * (static_cast<double>(m.layers) + 1) * columns;
}

/// What all sizes of a plan follow from stays within 64 bits.
void check_counts(Problems& problems, const Config& c, int dp) {
  const TrainConfig& t = c.train;
  const bool told = std::any_of(problems.begin(), problems.end(),
                                [](const ConfigProblem& problem) { return problem.key == "train.batch_tokens"; });
  if (told || t.batch_tokens < 1 || t.micro_batch_tokens < 1 || parameter_count(c.model) > kMostParameters) return;
  const std::vector<std::string> widths = {
      "model.layers",          "model.hidden_size", "model.ffn_size",           "model.key_expansion",
      "model.value_expansion", "model.heads",       "train.micro_batch_tokens", "data.seq_len"};
  const double a_token = most_bytes_a_token(c), bytes = a_token * static_cast<double>(t.batch_tokens);
  if (bytes > kMostBytes) {
    const double most = std::floor(kMostBytes / a_token);
    add(problems, "train.batch_tokens",
        concat("= ", t.batch_tokens, " tokens of this model move up to ", bytes,
               " bytes in a step; the most that can be counted is ", kMostBytes,
               most < 1 ? concat(": this model is too large for one token")
                        : concat(", or ", static_cast<int64_t>(most), " tokens")),
        widths);
  }
  const int64_t replicas = std::max(1, dp), micro_batches = t.batch_tokens / t.micro_batch_tokens / replicas;
  if (micro_batches > kMostMicroBatches)
    add(problems, "train.batch_tokens",
        concat("= ", t.batch_tokens, " holds ", micro_batches, " micro-batches of train.micro_batch_tokens = ",
               t.micro_batch_tokens, " for each of ", replicas, " replicas; the most is ", kMostMicroBatches),
        {"train.micro_batch_tokens", "parallel.dp", "parallel.cp", "parallel.tp"});
  const int64_t segments = t.segment_tokens > 0 ? c.data.seq_len / t.segment_tokens : 1;
  if (segments > kMostSegments)
    add(problems, "train.segment_tokens",
        concat("= ", t.segment_tokens, " cuts data.seq_len = ", c.data.seq_len, " into ", segments,
               " segments; the most is ", kMostSegments),
        {"data.seq_len"});
}

void doubt_schedule(Problems& doubts, const Config& c) {
  const ScheduleConfig& s = c.schedule;
  const int64_t steps = c.steps(), warmup = s.warmup_steps;
  const std::string run = concat("the run has ", steps, steps == 1 ? " step" : " steps",
                                 " (train.tokens / train.batch_tokens, rounded up)");
  const std::vector<std::string> others = {"train.tokens", "train.batch_tokens", "schedule.warmup", "schedule.kind"};
  if (warmup > steps) {
    add(doubts, "schedule.warmup",
        concat("= ", warmup, " steps, but ", run, ": the learning rate rises to ", steps, "/", warmup,
               " of optimizer.lr and never falls"),
        others);
  } else if (s.kind == ScheduleKind::kWsd && warmup + wsd_decay_steps(s, steps) > steps) {
    add(doubts, "schedule.decay_fraction",
        concat("= ", s.decay_fraction, " is ", wsd_decay_steps(s, steps), " steps of decay after schedule.warmup = ",
               warmup, ", but ", run, ": the learning rate falls in the last ", steps - warmup, " alone"),
        others);
  }
}

void doubt_checkpoint(Problems& doubts, const CheckpointConfig& c) {
  if (c.every == 0 || c.keep_every % c.every == 0) return;
  int64_t both = 0;
  const bool fits = !__builtin_mul_overflow(c.keep_every / std::gcd(c.keep_every, c.every), c.every, &both);
  add(doubts, "checkpoint.keep_every",
      concat("= ", c.keep_every, " is no multiple of checkpoint.every = ", c.every, " (",
             neighbours(c.keep_every, c.every), "): of what is saved, ",
             fits ? concat("multiples of ", both, " steps are kept for ever") : "nothing is kept for ever"),
      {"checkpoint.every"});
}

void check_rest(Problems& problems, const Config& c) {
  if (c.checkpoint.keep_best > 0 && (c.data.valid.empty() || c.eval.every == 0))
    add(problems, "checkpoint.keep_best", "goes by the validation loss: it needs data.valid and eval.every",
        {"data.valid", "eval.every"});
  if (c.eval.recurrent_every > 0 && (c.data.valid.empty() || c.eval.every == 0))
    add(problems, "eval.recurrent_every", "belongs to validations: it needs data.valid and eval.every",
        {"data.valid", "eval.every"});
  else if (c.eval.recurrent_every > 0 && c.eval.recurrent_every % c.eval.every != 0)
    add(problems, "eval.recurrent_every",
        concat("= ", c.eval.recurrent_every, " is no multiple of eval.every = ", c.eval.every, " (",
               neighbours(c.eval.recurrent_every, c.eval.every), ")"),
        {"eval.every"});
  if (c.device == DeviceKind::kCpu && c.precision == Precision::kBf16)
    add(problems, "precision", "= bf16 is not available on device = cpu (legal: auto, fp32, fp64)", {"device"});
  if (c.device == DeviceKind::kCuda && c.precision == Precision::kFp64)
    add(problems, "precision", "= fp64 is not available on device = cuda (legal: auto, bf16, fp32)", {"device"});
}

}  // namespace

const char* device_name(DeviceKind device) {
  switch (device) {
    case DeviceKind::kAuto: return "auto";
    case DeviceKind::kCpu: return "cpu";
    case DeviceKind::kCuda: return "cuda";
  }
  return "";
}

const char* recompute_name(Recompute level) {
  switch (level) {
    case Recompute::kNone: return "none";
    case Recompute::kSelective: return "selective";
    case Recompute::kFull: return "full";
    case Recompute::kSegment: return "segment";
  }
  return "";
}

MeshShape Config::mesh(int ranks) const {
  const int inner = parallel.cp * parallel.tp;
  const MeshShape shape{parallel.dp ? parallel.dp : ranks / inner, parallel.cp, parallel.tp};
  RETAIN_CHECK(shape.ranks() == ranks, shape.describe(), " on ", ranks, " ranks");
  return shape;
}

int64_t most_tensor_parallel(const ModelConfig& model) { return std::gcd(model.heads, model.ffn_size); }

std::string legal_tensor_parallel(const ModelConfig& model) { return divisors(most_tensor_parallel(model)); }

std::vector<ConfigProblem> validate(const ModelConfig& model) {
  Problems problems;
  check_model(problems, model);
  return problems;
}

std::vector<ConfigProblem> validate(const Config& config, int ranks) {
  RETAIN_CHECK(ranks >= 1, ranks, " ranks");
  Problems problems;
  check_model(problems, config.model);
  check_data(problems, config);
  check_log(problems, config.log);
  const int dp = check_parallel(problems, config, ranks);
  check_train(problems, config, dp);
  check_segments(problems, config);
  check_graph(problems, config, ranks);
  check_counts(problems, config, dp);
  check_rest(problems, config);
  return problems;
}

std::vector<ConfigProblem> doubts(const Config& config) {
  Problems doubts;
  doubt_schedule(doubts, config);
  doubt_checkpoint(doubts, config.checkpoint);
  return doubts;
}

}  // namespace retain
