#include "launch/config/explain.h"

#include <map>
#include <sstream>
#include <utility>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "launch/config/problems.h"
#include "launch/config/schema.h"
#include "launch/config/suggest.h"

namespace retain {

namespace {

// How to choose each value; a test holds that every key has its own.
const std::map<std::string, std::string>& reasons() {
  static const std::map<std::string, std::string> texts = {
      {"run.dir", "One directory is one run. The same directory again goes on with it; two runs never share one."},
      {"run.seed",
       "Another seed is another sample of the same experiment. Runs that are to be compared over seeds differ in "
       "it alone."},
      {"model.layers", "Depth. Memory, time and parameters grow with it in proportion."},
      {"model.hidden_size",
       "Width. Time and parameters grow with its square. Products are fastest where 128 divides it."},
      {"model.heads",
       "Each head forgets at its own rate. hidden_size / heads of 128 or 256 runs on Hopper's own kernels; "
       "parallel.tp must divide it."},
      {"model.key_expansion",
       "Width of the state's keys: a head's state holds key width x value width numbers. 1 as the "
       "paper has it."},
      {"model.value_expansion", "2 as the paper has it; 1 halves the state, the gate and the output's matrix."},
      {"model.ffn_size",
       "About 4/3 of hidden_size with two expanded values and a gated FFN makes a block of 12 to 13 "
       "hidden_size^2 parameters. 128 should divide it, and parallel.tp must."},
      {"model.ffn",
       "swiglu is what fla trains, geglu torchscale's gated FFN, gelu the paper's. Weights from elsewhere decide "
       "it."},
      {"model.vocab_size",
       "At least the tokenizer's. Fill it up to a multiple of 64, better of 128 x tp: products are "
       "faster, and ids that the tokenizer lacks are never drawn."},
      {"model.tie_embeddings", "Saves vocab_size x hidden_size parameters, which counts in small models."},
      {"model.embedding_scale", "1, or the square root of hidden_size in torchscale's models."},
      {"model.embedding_norm", "Weights of torchscale that were trained with it need it."},
      {"model.norm_eps",
       "A head that has retained nearly nothing is divided by about its root: 1e-3 calms the gradient of a "
       "sequence's first tokens, 1e-6 is what published weights were trained with."},
      {"model.head_norm_eps",
       "Calms the gradient of a sequence's first tokens as norm_eps does, and leaves the other norms as they are. "
       "Weights from elsewhere have one epsilon for all."},
      {"model.decay", "eq8 is what the paper's equation and all code say, paper_exp what its runs had."},
      {"model.rotary", "torchscale spaces its angles otherwise: only for weights from there."},
      {"model.group_norm_eps", "rowsum divides by the sum of a row's weights first, as torchscale does."},
      {"model.group_norm_affine", "fla learns a weight there, torchscale does not."},
      {"model.init_std", "0.02 suits widths around 1,000 to 4,000."},
      {"model.init",
       "normal draws all alike, as fla does. depth_scaled lets deep models begin with small steps of the stream, as "
       "GPT-2's do. torchscale has the gains of the paper's code; it goes with embedding_scale of the root of "
       "hidden_size."},
      {"model.base_width",
       "The hidden_size at which rates were chosen, so that they hold at this one (muP): tune small, train wide. "
       "study width checks it."},
      {"data.tokenizer",
       "Bytes need no file and make long sequences; BPE of 32k to 50k tokens holds about 4 bytes of English "
       "a token. A set remembers the tokenizer that made it, and another one is refused."},
      {"data.train",
       "Several sets are blended by their weights, exactly at every step; a small set with a large weight is "
       "read several times."},
      {"data.valid", "Named sets, each with its own curve. Held out by document: data prepare --holdout."},
      {"data.seq_len",
       "Retention costs the same a token at any length, so only memory and the data's own length limit it. "
       "Below one chunk (128 or 256 tokens) products become small."},
      {"data.end_of_document", "auto finds the tokenizer's, or the one that stands at the borders of the set's index."},
      {"data.reset_state_at_documents", "false lets a document see what was before it in its window."},
      {"data.end_token_before_windows",
       "true gives a sequence's first tokens something to retain, at the price of one target a window."},
      {"train.tokens",
       "Of the whole run. About 20 times the parameters is compute-optimal for Transformers; models that are "
       "used much are trained far longer."},
      {"train.batch_tokens",
       "Of one update over all ranks, so the run is the same on any number of them. 0.5 to 4 million is "
       "usual from 1 B parameters on; small models learn faster with less."},
      {"train.micro_batch_tokens",
       "What one replica computes at once: the largest that fits is the fastest, from 16Ki on "
       "little is gained. The sum is the same."},
      {"train.recompute",
       "none is fastest. selective gives up 3 to 5 % for a third of the activations, full a quarter of the "
       "speed for most of them; segment makes sequences of any length fit. plan prints all four."},
      {"train.segment_tokens", "auto fills the GPU's memory; a fixed one makes runs on GPUs of different sizes alike."},
      {"train.chunk",
       "auto is the GPU's kernels' own; on CPUs 64 is about best. The result does not depend on it beyond "
       "rounding."},
      {"train.graph",
       "Small models wait for the host that launches their kernels; a recorded step does not. One rank only."},
      {"eval.every", "Each evaluation costs eval.tokens of forward passes, a third of a training step's time a token."},
      {"eval.tokens",
       "A million tokens gives the mean loss to about 0.003 nats. Always the same tokens, so curves compare."},
      {"eval.loss_by_position",
       "Shows how much of a long window a model uses, and what its beginning costs. Adds a dozen values to each "
       "evaluation."},
      {"eval.recurrent_every",
       "Says early whether generation, which is recurrent, will be what was trained. A micro-batch of each set, token "
       "by token; a few times a run is enough."},
      {"optimizer.lr",
       "The value that matters most. 1e-3 suits 10 M parameters, 6e-4 125 M, 2e-4 several B; about "
       "proportional to N^(-1/3)."},
      {"optimizer.betas", "The second: 0.95 to 0.98 for batches of millions of tokens, 0.99 for small ones."},
      {"optimizer.eps", "1e-8 unless gradients are tiny."},
      {"optimizer.weight_decay", "0.05 to 0.1 of matrices; norms are left alone. Scales with the learning rate."},
      {"optimizer.clip",
       "1 cuts the few large gradients of the start and of bad batches. The norm before clipping is in the "
       "metrics."},
      {"schedule.kind",
       "cosine and linear end at train.tokens. wsd is constant and then falls, so one run gives several "
       "lengths. constant never falls."},
      {"schedule.warmup",
       "Long enough that the gradient's norm has settled: 100 to 2,000 steps. Too long harms short runs."},
      {"schedule.final", "0 to 0.1. What a run is compared at should be the end of its fall."},
      {"schedule.decay_fraction", "0.1 to 0.2 reaches what a cosine would."},
      {"parallel.dp",
       "auto takes the ranks that cp and tp leave. Replicas exchange gradients once a step: the cheapest way "
       "to use more GPUs while train.batch_tokens is enough for all."},
      {"parallel.cp",
       "For one sequence too long for a GPU: its parts exchange one state a layer, whatever the length."},
      {"parallel.tp",
       "For models too large for a GPU: its ranks exchange every layer's rows, so they belong on one machine. "
       "Divides heads and ffn_size."},
      {"parallel.tp_chunks",
       "More chunks hide more of the exchange under products and make these smaller. auto measures at "
       "the start."},
      {"parallel.zero",
       "1 costs nothing. 2 keeps gradients cut too, and exchanges them with every micro-batch. 0 keeps the "
       "optimizer's state whole."},
      {"parallel.gradient_dtype",
       "bf16 halves what replicas exchange, at a rounding of up to 1/256 of each gradient: for slow "
       "networks."},
      {"checkpoint.every",
       "What a crash may cost. A save goes on beside training; often enough that a lost machine costs "
       "minutes."},
      {"checkpoint.keep", "Two at least, so that a damaged one leaves another."},
      {"checkpoint.keep_every", "For studies of training itself, and to go back far."},
      {"checkpoint.keep_best", "The best by validation loss, beside the newest."},
      {"checkpoint.async",
       "false waits for each save: for disks that slow training, or hosts without room for the copy."},
      {"checkpoint.on_error", "continue goes on from a full disk and tries the next save; stop ends with 74."},
      {"checkpoint.free_before_save", "For disks that hold one checkpoint less than checkpoint.keep asks for."},
      {"numerics.max_skips", "An update whose gradient is no number is skipped. Ten in a row are no accident."},
      {"numerics.max_rollbacks",
       "How often to go back to a checkpoint and take other data before the run is given up as "
       "diverged."},
      {"numerics.on_spike",
       "warn writes it down. skip leaves the update out, rollback goes back to the last checkpoint and "
       "past the data."},
      {"numerics.spike_score", "10 is rare; 5 finds more and more that is none."},
      {"numerics.spike_window", "Longer is steadier, shorter follows a falling loss better."},
      {"numerics.check_replicas_every",
       "Finds a GPU that computes wrong: replicas must agree to the bit. Costs one read of "
       "the weights."},
      {"numerics.replay_every",
       "Computes one micro-batch again and compares to the bit: finds a GPU that is not "
       "deterministic. Costs that micro-batch."},
      {"log.every", "Each line reads the loss back from the device."},
      {"log.norms_every",
       "For runs that misbehave: which layer's weights, gradients, updates or states grow. Those steps are not "
       "recorded as "
       "graphs and take a little longer."},
      {"log.prometheus",
       "One file a run in the collector's folder, replaced whole at each line of the log; no port is opened."},
      {"limits.hang_timeout", "auto follows the steps' own time. none only where something else ends hung jobs."},
      {"limits.wall_time",
       "Ends with a checkpoint and code 75 before a scheduler kills. Slurm's own limit is found by "
       "itself."},
      {"device", "cuda makes a missing GPU an error instead of a slow run."},
      {"precision",
       "bf16 keeps float32 masters, sums and states. fp32 on a GPU is for comparisons, fp64 on CPUs for checks."},
  };
  return texts;
}

std::string resume_text(Resume resume) {
  switch (resume) {
    case Resume::kMustAgree: return "may not change";
    case Resume::kIfAllowed: return "may change with --allow-changed";
    case Resume::kMayDiffer: break;
  }
  return "may change";
}

std::string explained(const Field& field) {
  const Config defaults;
  std::string text = field.path + "\n";
  const auto add = [&text](const std::string& name, const std::string& value) {
    if (!value.empty()) text += "  " + name + std::string(9 - name.size(), ' ') + value + "\n";
  };
  add("is", field.doc);
  add("default", field.example.empty() ? field.get(defaults) : "none: must be given, such as " + field.example);
  add("unit", field.unit);
  add("legal", field.range);
  add("resume", resume_text(field.resume));
  std::string line;
  std::vector<std::string> why;
  std::istringstream words(reasons().at(field.path));
  for (std::string word; words >> word;) {
    constexpr size_t kWidth = 68;
    if (!line.empty() && line.size() + 1 + word.size() > kWidth) why.push_back(std::exchange(line, ""));
    line += (line.empty() ? "" : " ") + word;
  }
  why.push_back(line);
  for (size_t i = 0; i < why.size(); ++i) text += (i == 0 ? "  why      " : "           ") + why[i] + "\n";
  return text;
}

}  // namespace

std::string explain(const std::string& key) {
  const std::vector<Field> fields = config_fields();
  const std::string section = key.ends_with('.') ? key.substr(0, key.size() - 1) : key;
  std::string text;
  for (const Field& field : fields)
    if (field.path == key || (!section.empty() && field.section() == section))
      text += (text.empty() ? "" : "\n") + explained(field);
  if (!text.empty()) return text;
  const size_t dot = key.rfind('.');
  const std::string meant = dot == std::string::npos ? suggest_key(fields, "", key)
                                                     : suggest_key(fields, key.substr(0, dot), key.substr(dot + 1));
  throw Error(ErrorKind::kUsage,
              concat("no key ", in_quotes(key),
                     meant.empty() ? "; configs/reference.yaml has all" : " (" + did_you_mean(meant) + ")"));
}

}  // namespace retain
