#include "trainer/checkpoint/reader.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "parallel/agreement.h"
#include "trainer/checkpoint/block_copies.h"
#include "trainer/checkpoint/checksum.h"

namespace retain {

namespace {

// A row slice at least this long is read by itself; shorter ones are cut out of a run of whole rows.
constexpr int64_t kDirectReadBytes = 32 << 10;
constexpr int64_t kReadBufferBytes = int64_t{4} << 20;
constexpr int64_t kReadAheadBytes = int64_t{8} << 20;
// As many shards stay open as mostly hold one tensor; two checkpoints that are compared still need few descriptors.
constexpr size_t kMostOpenShards = 6;

template <class From, class To>
void convert(const void* from, void* to, int64_t count) {
  std::transform(static_cast<const From*>(from), static_cast<const From*>(from) + count, static_cast<To*>(to),
                 [](From value) { return static_cast<To>(value); });
}

void copy_elements(DType from_type, const void* from, DType to_type, void* to, int64_t count) {
  if (from_type == to_type) {
    std::memcpy(to, from, static_cast<size_t>(count * dtype_bytes(to_type)));
  } else if (to_type == DType::kFloat64) {
    convert<float, double>(from, to, count);
  } else {
    convert<double, float>(from, to, count);
  }
}

// What lies in bytes [begin, end) of a shard, for people.
std::string contents(const ShardRecord& shard, DType dtype, int64_t begin, int64_t end) {
  std::string first;
  int more = -1;
  for (const StoredBox& b : shard.boxes) {
    for (size_t i = 0; i < kStates; ++i) {
      const int64_t offset = b.file_offset[i];
      if (offset >= end || offset + b.box.elements() * dtype_bytes(dtype) <= begin) continue;
      if (more++ < 0) first = concat(b.tensor, " ", kStateNames[i], " ", describe(b.box));
    }
  }
  if (first.empty()) return "HDF5 metadata";
  return more > 0 ? concat(first, " and ", more, " more") : first;
}

}  // namespace

Checkpoint::Checkpoint(Path path, Manifest manifest)
    : path_(std::move(path)),
      manifest_(std::move(manifest)),
      files_(std::make_unique<OpenFiles>(kMostOpenShards, File::open)) {
  for (size_t i = 0; i < manifest_.shards.size(); ++i) {
    for (const StoredBox& b : manifest_.shards[i].boxes) places_[b.tensor].push_back({static_cast<int>(i), &b});
  }
}

std::shared_ptr<const File> Checkpoint::shard_file(int shard) const {
  return files_->open(path_ / manifest_.shards[static_cast<size_t>(shard)].file.name);
}

void Checkpoint::read_box(const std::string& tensor, const Box& wanted, int state, void* to, int64_t row_stride,
                          DType dtype) const {
  const auto found = places_.find(tensor);
  if (found == places_.end()) throw Error(ErrorKind::kData, concat(path_.string(), " has no tensor ", tensor));
  const DType stored = manifest_.dtype;
  const int64_t width = dtype_bytes(stored), to_width = dtype_bytes(dtype);
  std::vector<char> buffer;
  int64_t filled = 0;
  for (const Place& place : found->second) {
    const std::optional<Box> common = intersect(wanted, place.box->box);
    if (!common) continue;
    filled += common->elements();
    const Box& source = place.box->box;
    const std::shared_ptr<const File> shard = shard_file(place.shard);
    const File& file = *shard;
    const auto file_offset = [&](int64_t row) {  // of the common part's first element in that row
      const int64_t element = (row - source.first_row) * source.columns + common->first_column - source.first_column;
      return place.box->file_offset[static_cast<size_t>(state)] + element * width;
    };
    const auto target = [&](int64_t row) {
      const int64_t element = (row - wanted.first_row) * row_stride + common->first_column - wanted.first_column;
      return static_cast<char*>(to) + element * to_width;
    };
    const bool whole_rows = common->columns == source.columns && (common->columns == row_stride || common->rows == 1);
    if (stored == dtype && whole_rows) {
      file.read(target(common->first_row), common->elements() * width, file_offset(common->first_row));
      continue;
    }
    int64_t group = std::max<int64_t>(1, kReadBufferBytes / (source.columns * width));  // rows at once
    if (common->columns != source.columns && common->columns * width >= kDirectReadBytes) group = 1;
    for (int64_t row = common->first_row; row < common->first_row + common->rows; row += group) {
      const int64_t rows = std::min(group, common->first_row + common->rows - row);
      const int64_t span = ((rows - 1) * source.columns + common->columns) * width;
      if (stored == dtype && rows == 1) {
        file.read(target(row), span, file_offset(row));
        continue;
      }
      buffer.resize(static_cast<size_t>(span));
      file.read(buffer.data(), span, file_offset(row));
      for (int64_t i = 0; i < rows; ++i) {
        copy_elements(stored, buffer.data() + i * source.columns * width, dtype, target(row + i), common->columns);
      }
    }
  }
  RETAIN_CHECK(filled == wanted.elements(), tensor, " ", describe(wanted), ": ", filled, " elements found");
}

void Checkpoint::check_fits(const std::vector<TensorPlacement>& placements, const FlatState& into) const {
  std::map<std::string, const TensorRecord*> tensors;
  for (const TensorRecord& tensor : manifest_.tensors) tensors[tensor.name] = &tensor;
  for (const TensorPlacement& p : placements) {
    const auto found = tensors.find(p.name);
    if (found == tensors.end()) throw Error(ErrorKind::kData, concat(path_.string(), " has no tensor ", p.name));
    if (found->second->global_shape != p.global_shape) {
      const Box has = whole_box(found->second->global_shape), wants = whole_box(p.global_shape);
      throw Error(ErrorKind::kData, concat(path_.string(), ": ", p.name, " is ", has.rows, "x", has.columns,
                                           ", this model wants ", wants.rows, "x", wants.columns));
    }
  }
  for (const TensorView& view : into.states()) {
    if (!view) continue;
    RETAIN_CHECK(view.contiguous() && view.elements() == into.share.size(), "state ", view.describe(),
                 " for a share of ", into.share.size());
  }
}

void Checkpoint::verify_blocks(const FileRecord& record, const ShardRecord* shard, int64_t begin, int64_t end,
                               const Report& report, const Sink& sink) const {
  const auto holds = [&](int64_t from, int64_t to) {
    return shard ? contents(*shard, manifest_.dtype, from, to) : std::string("the view of whole tensors");
  };
  const auto damaged = [&](const std::string& reason) {
    report(Error(ErrorKind::kData, concat(reason, "; it holds ", holds(0, record.bytes))));
  };
  File file;
  try {
    file = open_step_file(path_ / record.name);
  } catch (const Error& e) {
    if (!means_damage(e)) throw;
    return damaged(e.what());
  }
  if (file.bytes() != record.bytes) {
    return damaged(concat(file.path().string(), " has ", file.bytes(), " bytes, want ", record.bytes));
  }
  std::vector<char> bytes(static_cast<size_t>(std::min(record.bytes, kChecksumBlockBytes)));
  for (int64_t block = begin; block < end; ++block) {
    const int64_t from = block * kChecksumBlockBytes, to = std::min(record.bytes, from + kChecksumBlockBytes);
    const uint64_t want = record.blocks[static_cast<size_t>(block)];
    // The disk works on the next blocks while this one is checksummed.
    if (block + 1 < end) ::posix_fadvise(file.descriptor(), to, kReadAheadBytes, POSIX_FADV_WILLNEED);
    uint64_t got = ~want;
    constexpr int kReads = 2;  // a second look, past the page cache, before a step is given up
    for (int i = 0; i < kReads && got != want; ++i) {
      if (i > 0) ::posix_fadvise(file.descriptor(), from, to - from, POSIX_FADV_DONTNEED);
      file.read(bytes.data(), to - from, from);
      got = checksum(bytes.data(), to - from);
    }
    if (got == want) {
      if (sink) sink(block, bytes.data());
      continue;
    }
    report(Error(ErrorKind::kData, concat(file.path().string(), ": bytes ", from, " to ", to, " (", holds(from, to),
                                          ") have the checksum ", to_hex(got), ", want ", to_hex(want))));
  }
}

void Checkpoint::verify_shards(int part, int parts, const Report& report) const {
  int64_t blocks = 0;
  for (const ShardRecord& shard : manifest_.shards) blocks += static_cast<int64_t>(shard.file.blocks.size());
  const int64_t first = blocks * part / parts, last = blocks * (part + 1) / parts;
  int64_t at = 0;  // number of this shard's first block among all
  for (const ShardRecord& shard : manifest_.shards) {
    const int64_t count = static_cast<int64_t>(shard.file.blocks.size());
    const int64_t begin = std::max<int64_t>(first - at, 0), end = std::min(last - at, count);
    at += count;
    if (begin < end) verify_blocks(shard.file, &shard, begin, end, report);
  }
}

void Checkpoint::load_blocks(Communicator& host, const BlockCopies& copies) const {
  struct Block {
    int shard = 0;
    int64_t number = 0;
  };
  std::vector<Block> blocks;
  std::vector<int32_t> needed;  // of all blocks: by some rank
  std::vector<bool> mine;
  for (size_t shard = 0; shard < manifest_.shards.size(); ++shard) {
    for (size_t i = 0; i < manifest_.shards[shard].file.blocks.size(); ++i) {
      blocks.push_back({static_cast<int>(shard), static_cast<int64_t>(i)});
      mine.push_back(copies.needs(blocks.back().shard, blocks.back().number));
      needed.push_back(mine.back() ? 1 : 0);
    }
  }
  const int64_t count = static_cast<int64_t>(needed.size());
  if (count > 0) host.all_reduce(TensorView(needed.data(), DType::kInt32, {count}), ReduceOp::kMax).wait();
  const int64_t others = std::count(needed.begin(), needed.end(), 0);
  const Range part{others * host.rank() / host.size(), others * (host.rank() + 1) / host.size()};
  int64_t other = 0;
  for (size_t i = 0; i < needed.size(); ++i) {
    if (needed[i] != 0) continue;
    mine[i] = other >= part.begin && other < part.end;
    ++other;
  }
  for (size_t i = 0; i < blocks.size();) {
    size_t end = i + 1;  // of a run of blocks of this rank in one shard
    while (mine[i] && end < blocks.size() && mine[end] && blocks[end].shard == blocks[i].shard) ++end;
    if (mine[i]) {
      const int shard = blocks[i].shard;
      const ShardRecord& record = manifest_.shards[static_cast<size_t>(shard)];
      verify_blocks(record.file, &record, blocks[i].number, blocks[end - 1].number + 1, throw_it,
                    [&](int64_t block, const char* bytes) { copies.take(shard, block, bytes); });
    }
    i = end;
  }
}

std::vector<BlockRun> Checkpoint::needed_blocks(const BlockCopies& copies, int64_t most) const {
  std::vector<BlockRun> runs;
  for (size_t i = 0; i < manifest_.shards.size(); ++i) {
    const int shard = static_cast<int>(i);
    for (int64_t block = 0; block < static_cast<int64_t>(manifest_.shards[i].file.blocks.size()); ++block) {
      if (!copies.needs(shard, block)) continue;
      const bool goes_on =
          !runs.empty() && runs.back().shard == shard && runs.back().end == block && block - runs.back().begin < most;
      if (!goes_on) runs.push_back({.shard = shard, .begin = block, .end = block});
      runs.back().end = block + 1;
    }
  }
  return runs;
}

void Checkpoint::load_run(const BlockRun& run, const BlockCopies& copies) const {
  const ShardRecord& record = manifest_.shards[static_cast<size_t>(run.shard)];
  verify_blocks(record.file, &record, run.begin, run.end, throw_it,
                [&](int64_t block, const char* bytes) { copies.take(run.shard, block, bytes); });
}

void Checkpoint::verify_view(const Report& report) const {
  verify_blocks(manifest_.view, nullptr, 0, static_cast<int64_t>(manifest_.view.blocks.size()), report);
}

namespace {

// Room for a target's states in the checkpoint's precision, where the run's is another one.
class OtherPrecision {
 public:
  OtherPrecision(DType dtype, const FlatState& into) {
    const int64_t bytes = into.share.size() * dtype_bytes(dtype);
    const auto wanted = into.states();
    memory_.resize(static_cast<size_t>(bytes * std::count_if(wanted.begin(), wanted.end(), is_there)));
    char* next = memory_.data();
    const auto view = [&](const TensorView& like) {
      return is_there(like) ? TensorView(std::exchange(next, next + bytes), dtype, {into.share.size()}) : TensorView();
    };
    flat_ = {.share = into.share, .master = view(into.master), .m = view(into.m), .v = view(into.v)};
  }

  const FlatState& flat() const { return flat_; }
  void convert_to(const FlatState& into) const {
    for (size_t i = 0; i < kStates; ++i) {
      const TensorView from = flat_.states()[i], to = into.states()[i];
      if (to) copy_elements(from.dtype, from.data, to.dtype, to.data, from.elements());
    }
  }

 private:
  static bool is_there(const TensorView& view) { return static_cast<bool>(view); }

  std::vector<char> memory_;
  FlatState flat_;
};

// The share of a run, which is read in the pass that verifies all.
class ShareReader {
 public:
  ShareReader(Communicator& host, const LoadTarget& target) : host_(host), target_(target) {}

  StepReader reader() {
    return {.accept = [this](const Checkpoint& checkpoint) { accept(checkpoint); },
            .read = [this](const Checkpoint& checkpoint) { read(checkpoint); }};
  }

 private:
  void accept(const Checkpoint& checkpoint) {
    target_.accept(checkpoint.state());
    checkpoint.check_fits(target_.placements, target_.into);
    const DType stored = checkpoint.manifest().dtype;
    other_.reset();
    if (stored != target_.into.master.dtype) other_.emplace(stored, target_.into);
    copies_.emplace(checkpoint.manifest(), target_.placements, other_ ? other_->flat() : target_.into);
  }
  void read(const Checkpoint& checkpoint) {
    checkpoint.load_blocks(host_, *copies_);
    if (other_) other_->convert_to(target_.into);
  }

  Communicator& host_;
  const LoadTarget& target_;
  std::optional<OtherPrecision> other_;
  std::optional<BlockCopies> copies_;
};

// What a reader makes of a step, or why that is damaged, alike on all ranks. Throws what says nothing about the data
// (kIo).
std::optional<Checkpoint> open_step(Communicator& host, const Path& step_directory, std::string& damage,
                                    const LogLine& log, const StepReader& reader) {
  do_on_rank_0(host, [&] { refuse_dangling_link(step_directory); });  // no damage: what was there may come back
  Outcome outcome;
  std::string text;
  if (host.rank() == 0) {
    outcome = attempt([&] { text = to_text(read_manifest(step_directory)); });
  }
  outcome = broadcast_outcome(host, outcome, 0);
  std::optional<Checkpoint> checkpoint;
  if (outcome.ok) {
    text = broadcast_text(host, text, 0);
    checkpoint.emplace(step_directory, parse_manifest(text));
    do_alike([&] { reader.accept(*checkpoint); });
    outcome = agree(host, attempt([&] { reader.read(*checkpoint); }));
  }
  if (outcome.ok) {
    if (host.rank() == 0) {
      const Outcome view = attempt([&] { checkpoint->verify_view(); });
      if (!view.ok) log("the tensors are whole, but not their view for h5py: " + view.message);
    }
    return checkpoint;
  }
  if (outcome.kind != ErrorKind::kData) outcome.throw_if_failed();
  damage = outcome.message;
  return std::nullopt;
}

// Rank 0's list of paths, on every rank.
std::vector<Path> broadcast_paths(Communicator& host, const std::vector<Path>& paths) {
  std::string text;
  for (const Path& path : paths) text += path.string() + '\0';
  text = broadcast_text(host, text, 0);
  std::vector<Path> copy;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\0', begin);
    copy.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return copy;
}

std::optional<Checkpoint> open_newest_by(Communicator& host, const Path& run_directory, bool set_aside_damaged,
                                         const LogLine& log, const StepReader& reader) {
  const Path checkpoints = checkpoints_directory(run_directory);
  std::vector<Path> steps, damaged;
  do_on_rank_0(host, [&] {
    for (const StepEntry& entry : list_steps(checkpoints)) steps.push_back(entry.path);
    for (const SetAsideStep& aside : list_set_aside(checkpoints)) {
      if (aside.kind == kFoundDamaged) damaged.push_back(aside.path);
    }
  });
  steps = broadcast_paths(host, steps);
  damaged = broadcast_paths(host, damaged);
  if (steps.empty() && damaged.empty()) return std::nullopt;

  std::string reasons;
  for (const Path& step : steps) {
    std::string damage;
    std::optional<Checkpoint> checkpoint = open_step(host, step, damage, log, reader);
    if (checkpoint) return checkpoint;
    reasons += "\n  " + damage;
    do_on_rank_0(host, [&] {
      log(concat(step.string(), " is damaged and not used: ", damage));
      if (set_aside_damaged) set_aside(step, kFoundDamaged);
    });
  }
  for (const Path& path : damaged) reasons += concat("\n  ", path.string(), " was found damaged before");
  throw SharedError(ErrorKind::kData,
                    concat("no checkpoint in ", checkpoints.string(),
                           " can be used (to start anew, remove them or choose another run directory):", reasons));
}

Checkpoint open_by(Communicator& host, const Path& path, const LogLine& log, const StepReader& reader) {
  int32_t is_run = 0;
  do_on_rank_0(host, [&] {
    refuse_dangling_link(path);
    is_run = parse_step_name(path.filename()) || !is_gone(path / kManifestFileName) ? 0 : 1;
  });
  host.broadcast(TensorView(&is_run, DType::kInt32, {1}), 0).wait();
  if (is_run) {
    std::optional<Checkpoint> newest = open_newest_by(host, path, false, log, reader);
    if (!newest)
      throw SharedError(ErrorKind::kMissingInput, concat("no checkpoint in ", checkpoints_directory(path).string()));
    return std::move(*newest);
  }
  std::string damage;
  std::optional<Checkpoint> checkpoint = open_step(host, path, damage, log, reader);
  if (!checkpoint) throw SharedError(ErrorKind::kData, damage);
  return std::move(*checkpoint);
}

// Without a target everything is verified and nothing kept.
template <class Open>
auto with_reader(Communicator& host, const LoadTarget* target, Open&& open) {
  if (!target) {
    return open(StepReader{
        .read = [&host](const Checkpoint& checkpoint) { checkpoint.verify_shards(host.rank(), host.size()); }});
  }
  ShareReader share(host, *target);
  return open(share.reader());
}

}  // namespace

std::optional<Checkpoint> open_newest(Communicator& host, const Path& run_directory, bool set_aside_damaged,
                                      const LogLine& log, const LoadTarget* target) {
  return with_reader(host, target, [&](const StepReader& reader) {
    return open_newest_by(host, run_directory, set_aside_damaged, log, reader);
  });
}

Checkpoint open_verified(Communicator& host, const Path& path, const LogLine& log, const LoadTarget* target) {
  return with_reader(host, target, [&](const StepReader& reader) { return open_by(host, path, log, reader); });
}

Checkpoint open_and_read(Communicator& host, const Path& path, const LogLine& log, const StepReader& reader) {
  return open_by(host, path, log, reader);
}

Checkpoint open_and_read(const Path& path, const LogLine& log, const StepReader& reader) {
  return open_and_read(*make_self_communicator(), path, log, reader);
}

}  // namespace retain
