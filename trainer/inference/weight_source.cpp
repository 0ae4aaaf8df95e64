#include "trainer/inference/weight_source.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <future>
#include <mutex>
#include <system_error>
#include <thread>

#include "parallel/health/stacks.h"
#include "trainer/checkpoint/block_copies.h"
#include "trainer/checkpoint/checksum.h"
#include "trainer/checkpoint/trainer_state.h"

namespace retain {
namespace {

constexpr int64_t kWindowBytes = int64_t{128} << 20;  // of the model, in host memory at once; twice
constexpr int64_t kJobBytes = int64_t{16} << 20;      // that a thread reads one after the other
constexpr int kFewestThreads = 4, kMostThreads = 8;   // more than processors: they wait for the disk

class CheckpointWeights : public WeightSource {
 public:
  explicit CheckpointWeights(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  DType dtype() const override { return checkpoint_.manifest().dtype; }

  std::vector<Job> fill(const std::vector<TensorPlacement>& placements, const ReplicaShare& share,
                        void* into) const override {
    const FlatState masters{.share = share, .master = TensorView(into, dtype(), {share.size()}), .m = {}, .v = {}};
    checkpoint_.check_fits(placements, masters);
    const auto copies = std::make_shared<const BlockCopies>(checkpoint_.manifest(), placements, masters);
    std::vector<Job> jobs;
    for (const BlockRun& run : checkpoint_.needed_blocks(*copies, kJobBytes / kChecksumBlockBytes)) {
      jobs.emplace_back([this, copies, run] { checkpoint_.load_run(run, *copies); });
    }
    return jobs;
  }

 private:
  const Checkpoint& checkpoint_;
};

class FolderWeights : public WeightSource {
 public:
  explicit FolderWeights(const ImportedModel& model) : model_(model) {}

  DType dtype() const override { return DType::kFloat32; }

  std::vector<Job> fill(const std::vector<TensorPlacement>& placements, const ReplicaShare& share,
                        void* into) const override {
    std::vector<Job> jobs;
    for (const ShareBox& part : boxes_of_share(placements, share)) {
      const ForeignParameter& parameter = model_.parameter(placements[static_cast<size_t>(part.placement)].name);
      const int64_t rows_at_once =
          std::max<int64_t>(1, kJobBytes / (part.box.columns * static_cast<int64_t>(sizeof(float))));
      for (int64_t row = 0; row < part.box.rows; row += rows_at_once) {
        Box rows = part.box;
        rows.first_row += row;
        rows.rows = std::min(rows_at_once, part.box.rows - row);
        float* const to = static_cast<float*>(into) + part.offset + row * part.box.columns;
        jobs.emplace_back([this, &parameter, rows, to] { model_.read_box(parameter, rows, to); });
      }
    }
    return jobs;
  }

 private:
  const ImportedModel& model_;
};

// Does the jobs, in order, on so many threads, this one among them. The first error ends them all.
void run_jobs(const std::vector<WeightSource::Job>& jobs, int threads) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto work = [&] {
    for (size_t i = next++; i < jobs.size(); i = next++) {
      try {
        jobs[i]();
      } catch (...) {
        const std::scoped_lock lock(mutex);
        if (!error) error = std::current_exception();
        next = jobs.size();
      }
    }
  };
  std::vector<std::thread> others;
  const auto wanted = std::min(jobs.size(), static_cast<size_t>(threads));
  try {
    while (others.size() + 1 < wanted) {
      others.emplace_back([&] {
        leave_signals_to_main_thread();
        work();
      });
    }
  } catch (const std::system_error&) {  // no more threads to be had: those that there are do it
  }
  work();
  for (std::thread& other : others) other.join();
  if (error) std::rethrow_exception(error);
}

// The flat order in windows of at most so many elements.
std::vector<ReplicaShare> windows_of(int64_t flat_elements, int64_t window_elements) {
  std::vector<ReplicaShare> windows;
  for (int64_t begin = 0; begin < flat_elements; begin += window_elements) {
    windows.emplace_back(std::vector<Range>{{begin, std::min(flat_elements, begin + window_elements)}});
  }
  return windows;
}

// Through host memory of two windows: one is read into while the other goes to the device and to its type there.
void load_in_windows(const WeightSource& source, const std::vector<TensorPlacement>& placements, Backend& backend,
                     ParameterStore& parameters, int threads) {
  const DType dtype = source.dtype();
  const int64_t elements =
      std::min(kWindowBytes / dtype_bytes(dtype), parameters.layout().flat_elements);  // of a window
  const std::vector<ReplicaShare> windows = windows_of(parameters.layout().flat_elements, elements);
  const Buffer on_device(backend, elements * dtype_bytes(dtype));
  const std::array<std::unique_ptr<HostBuffer>, 2> in_memory = {
      backend.make_host_buffer(elements * dtype_bytes(dtype)), backend.make_host_buffer(elements * dtype_bytes(dtype))};
  const auto begin_reading = [&](size_t i) {
    return std::async(std::launch::async, [&, i] {
      leave_signals_to_main_thread();
      read_share(source, placements, windows[i], in_memory[i % 2]->data(), threads);
    });
  };
  std::future<void> reading = begin_reading(0);
  for (size_t i = 0; i < windows.size(); ++i) {
    reading.get();
    if (i + 1 < windows.size()) reading = begin_reading(i + 1);
    const TensorView window(on_device.data(), dtype, {windows[i].size()});
    backend.upload(window, in_memory[i % 2]->data());
    for (const ShareBox& part : boxes_of_share(placements, windows[i])) {
      const int64_t flat_begin = windows[i].pieces().front().flat.begin + part.offset;
      parameters.assign(flat_begin, window.slice(0, part.offset, part.box.elements()));
    }
  }
  backend.synchronize();
}

}  // namespace

std::unique_ptr<WeightSource> weights_of(const Checkpoint& checkpoint) {
  return std::make_unique<CheckpointWeights>(checkpoint);
}

std::unique_ptr<WeightSource> weights_of(const ImportedModel& model) { return std::make_unique<FolderWeights>(model); }

int default_reading_threads() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), kFewestThreads, kMostThreads);
}

void read_share(const WeightSource& source, const std::vector<TensorPlacement>& placements, const ReplicaShare& share,
                void* into, int threads) {
  run_jobs(source.fill(placements, share, into), threads);
}

void load_weights(const WeightSource& source, Backend& backend, ParameterStore& parameters, int threads) {
  // The layout is this tp rank's; the rank says who saves what all have.
  const std::vector<TensorPlacement> placements = placements_of(parameters.layout(), 0);
  const TensorView weights = parameters.flat_weights();
  if (backend.device() == Device::kCpu && weights.dtype == source.dtype()) {  // the masters, in host memory
    read_share(source, placements, ReplicaShare({{0, weights.elements()}}), weights.data, threads);
  } else {
    load_in_windows(source, placements, backend, parameters, threads);
  }
}

}  // namespace retain
