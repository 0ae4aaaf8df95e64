// Recordings of kernels/backend.h are CUDA graphs: what the stream, and the lanes that fork from it, are given while it
// is captured.
#include "kernels/cuda/cuda_backend.h"

namespace retain::cuda {

namespace {

class GraphRecording final : public Recording {
 public:
  GraphRecording(Queue& queue, GraphExec graph)
      : queue_(queue), workspace_(queue.workspace()), graph_(std::move(graph)) {}

  void queue() override {
    RETAIN_CHECK(queue_.workspace() == workspace_, "the workspace has moved since this was recorded");
    queue_.activate();
    CUDA_CHECK(cudaGraphLaunch(graph_.get(), queue_.stream()), "recorded work");
  }

 private:
  Queue& queue_;
  const void* workspace_;
  GraphExec graph_;
};

/// Captures a stream for as long as it lives, or until end(). Other threads go on with the device meanwhile.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording");
  }
  ~Capture() {
    if (!stream_) return;
    cudaGraph_t graph = nullptr;
    static_cast<void>(cudaStreamEndCapture(stream_, &graph));
    const Graph owner(graph);
    static_cast<void>(cudaGetLastError());  // the error that ended it is on its way
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  Graph end() {
    cudaGraph_t graph = nullptr;
    CUDA_CHECK(cudaStreamEndCapture(std::exchange(stream_, nullptr), &graph), "recording");
    return Graph(graph);
  }

 private:
  cudaStream_t stream_;
};

/// A switch that is on for as long as this lives.
class WhileOn {
 public:
  explicit WhileOn(bool& on) : on_(on) { on_ = true; }
  ~WhileOn() { on_ = false; }
  WhileOn(const WhileOn&) = delete;
  WhileOn& operator=(const WhileOn&) = delete;

 private:
  bool& on_;
};

}  // namespace

std::unique_ptr<Recording> CudaBackend::record(const std::function<void()>& work) {
  Queue& queue = current();
  RETAIN_CHECK(!records_, "a recording in a recording");
  const WhileOn on(records_);
  Capture capture(queue.stream());
  work();
  const Graph graph = capture.end();
  cudaGraphExec_t executable = nullptr;
  CUDA_CHECK(cudaGraphInstantiateWithFlags(&executable, graph.get(), 0), "recording");
  return std::make_unique<GraphRecording>(queue, GraphExec(executable));
}

}  // namespace retain::cuda
