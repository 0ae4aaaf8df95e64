#include "trainer/checkpoint/inspect.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "parallel/agreement.h"
#include "trainer/checkpoint/checksum.h"

namespace retain {

namespace {

constexpr int64_t kPieceBytes = int64_t{16} << 20;

// Calls visit(first row, rows) for pieces of whole rows of a tensor that fit into kPieceBytes of `width` bytes an
// element.
template <class Visit>
void for_row_pieces(const Box& whole, int64_t width, Visit&& visit) {
  const int64_t rows = std::max<int64_t>(1, kPieceBytes / (whole.columns * width));
  for (int64_t row = 0; row < whole.rows; row += rows) visit(row, std::min(rows, whole.rows - row));
}

std::map<std::string, std::vector<int64_t>> shapes_of(const Checkpoint& checkpoint) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const TensorRecord& tensor : checkpoint.manifest().tensors) shapes[tensor.name] = tensor.global_shape;
  return shapes;
}

// What of the run state a user compares, as text.
std::map<std::string, std::string> keys_of(const Checkpoint& checkpoint) {
  const RunState& state = checkpoint.state();
  std::map<std::string, std::string> keys = {{"step", std::to_string(state.step)},
                                             {"tokens", std::to_string(state.tokens)},
                                             {"seed", std::to_string(state.seed)},
                                             {"next_sample", std::to_string(state.next_sample)},
                                             {"dtype", dtype_name(checkpoint.manifest().dtype)}};
  for (const auto& [key, value] : state.identity) keys[key] = value;
  return keys;
}

TensorDifference compare_tensor(const Checkpoint& first, const Checkpoint& second, const std::string& name,
                                const Box& whole, int state) {
  TensorDifference difference{name, kStateNames[static_cast<size_t>(state)], 0, 0, 0};
  std::vector<double> a, b;
  double squares = 0, total = 0;
  for_row_pieces(whole, sizeof(double), [&](int64_t row, int64_t rows) {
    const Box piece{row, 0, rows, whole.columns};
    a.resize(static_cast<size_t>(piece.elements()));
    b.resize(a.size());
    first.read_box(name, piece, state, a.data(), whole.columns, DType::kFloat64);
    second.read_box(name, piece, state, b.data(), whole.columns, DType::kFloat64);
    for (size_t i = 0; i < a.size(); ++i) {
      total += a[i] * a[i];
      if (std::bit_cast<uint64_t>(a[i]) == std::bit_cast<uint64_t>(b[i])) continue;
      ++difference.elements;
      const double d = std::abs(a[i] - b[i]);
      squares += d * d;
      if (!(d <= difference.largest)) difference.largest = d;  // a NaN stays
    }
  });
  difference.relative = std::sqrt(squares) / std::sqrt(total);
  return difference;
}

}  // namespace

Checkpoint open_unverified(const Path& path) {
  const Path newest = find_steps(path).front().path;
  return {newest, read_manifest(newest)};
}

std::vector<StepEntry> find_steps(const Path& path) {
  refuse_dangling_link(path);
  const Path step = (path.filename().empty() ? path.parent_path() : path).filename();
  std::error_code error;
  if (const auto number = parse_step_name(step); number && std::filesystem::is_directory(path, error))
    return {{*number, path}};
  if (!is_gone(path / kManifestFileName)) return {{read_manifest(path).state.step, path}};
  std::vector<StepEntry> steps = list_steps(checkpoints_directory(path));
  if (steps.empty())
    throw Error(ErrorKind::kMissingInput, concat(path.string(), " is neither a checkpoint nor a run that has one"));
  return steps;
}

std::vector<StepSummary> summarize_steps(const Path& run_directory) {
  std::vector<StepSummary> summaries;
  for (const StepEntry& entry : list_steps(checkpoints_directory(run_directory))) {
    StepSummary summary;
    summary.path = entry.path;
    summary.step = entry.step;
    const StepVerdict verdict = judge_step(entry.path, Depth::kFiles);
    summary.condition = verdict.condition;
    summary.problem = verdict.reason;
    const Outcome described = attempt([&] {
      if (!summary.problem.empty()) return;
      const Manifest manifest = read_manifest(entry.path);
      summary.state = manifest.state;
      summary.dtype = manifest.dtype;
      summary.shards = static_cast<int64_t>(manifest.shards.size());
      summary.parameters = manifest.parameters();
      summary.bytes = manifest.total_bytes();
    });
    if (!described.ok) {
      summary.condition = StepCondition::kUnknown;
      summary.problem = described.message;
    }
    // A run that goes on deletes old steps: what is gone by now was no damage.
    if (!summary.problem.empty() && is_gone(entry.path)) continue;
    summaries.push_back(std::move(summary));
  }
  return summaries;
}

int64_t bytes_of(const SetAsideStep& aside) {
  std::error_code error;
  if (std::filesystem::is_symlink(aside.path, error)) return 0;
  int64_t bytes = 0;
  std::filesystem::directory_iterator it(aside.path, error);
  for (const std::filesystem::directory_iterator end; !error && it != end; it.increment(error)) {
    std::error_code vanished;
    if (it->is_regular_file(vanished)) bytes += static_cast<int64_t>(it->file_size(vanished));
  }
  return bytes;
}

VerifyReport verify_step(const Path& step_directory) {
  VerifyReport report;
  const auto note = [&](const Error& error) { report.problems.push_back(error.what()); };
  try {
    const Checkpoint checkpoint(step_directory, read_manifest(step_directory));
    report.bytes = checkpoint.manifest().total_bytes();
    checkpoint.verify_shards(0, 1, note);
    checkpoint.verify_view(note);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kData) throw;
    note(e);
  }
  return report;
}

Digest compute_digest(const Checkpoint& checkpoint) {
  checkpoint.verify_shards();
  const DType dtype = checkpoint.manifest().dtype;
  const RunState& state = checkpoint.state();
  Digest digest;
  std::string all =
      concat(dtype_name(dtype), ' ', state.step, ' ', state.tokens, ' ', state.seed, ' ', state.next_sample, '\n');
  std::vector<char> bytes;
  for (const auto& entry : shapes_of(checkpoint)) {
    const std::string& name = entry.first;
    const auto& shape = entry.second;
    TensorDigest tensor{name, shape, {}};
    const Box whole = whole_box(shape);
    all += concat(name, ' ', whole.rows, ' ', whole.columns);
    for (int i = 0; i < kStates; ++i) {
      BlockChecksums sum(std::numeric_limits<int64_t>::max());  // all in one block
      for_row_pieces(whole, dtype_bytes(dtype), [&](int64_t row, int64_t rows) {
        const Box piece{row, 0, rows, whole.columns};
        bytes.resize(static_cast<size_t>(piece.elements() * dtype_bytes(dtype)));
        checkpoint.read_box(name, piece, i, bytes.data(), whole.columns, dtype);
        sum.update(bytes.data(), static_cast<int64_t>(bytes.size()));
      });
      tensor.states[static_cast<size_t>(i)] = sum.finish().front();
      all += ' ' + to_hex(tensor.states[static_cast<size_t>(i)]);
    }
    all += '\n';
    digest.tensors.push_back(std::move(tensor));
  }
  digest.value = to_hex(checksum(all.data(), static_cast<int64_t>(all.size())));
  return digest;
}

Difference compare(const Checkpoint& first, const Checkpoint& second) {
  first.verify_shards();
  second.verify_shards();
  Difference difference;
  std::map<std::string, std::string> a = keys_of(first), b = keys_of(second);
  for (const auto& [key, value] : a) {
    if (!b.contains(key) || b[key] != value) {
      difference.keys.push_back(concat(key, ": ", value, ", ", b.contains(key) ? b[key] : "(absent)"));
    }
  }
  for (const auto& [key, value] : b) {
    if (!a.contains(key)) difference.keys.push_back(concat(key, ": (absent), ", value));
  }
  const auto shapes = shapes_of(first), others = shapes_of(second);
  for (const auto& [name, shape] : others) {
    if (!shapes.contains(name) || shapes.at(name) != shape) difference.only_second.push_back(name);
  }
  for (const auto& [name, shape] : shapes) {
    if (!others.contains(name) || others.at(name) != shape) {
      difference.only_first.push_back(name);
      continue;
    }
    for (int i = 0; i < kStates; ++i) {
      TensorDifference tensor = compare_tensor(first, second, name, whole_box(shape), i);
      if (tensor.elements > 0) difference.tensors.push_back(std::move(tensor));
    }
  }
  return difference;
}

}  // namespace retain
