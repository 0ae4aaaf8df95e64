// Writes down what each stream of a GPU did and when, without a profiler: a library that the CUDA driver loads into a
// program started with CUDA_INJECTION64_PATH=libretain_timeline.so. At its end the program leaves
// RETAIN_TIMELINE.<rank>, one line an activity: stream, begin and end in ns, name. timeline.py reads it.
#include <cupti.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>

namespace {

constexpr size_t kBufferBytes = size_t{8} << 20;

// Activities come from a thread of CUPTI's and, at the end, from the program's.
class Timeline {
 public:
  void write(const CUpti_Activity* record) {
    switch (record->kind) {
      case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
        const auto& kernel = *reinterpret_cast<const CUpti_ActivityKernel9*>(record);
        return line(kernel.streamId, kernel.start, kernel.end, short_name(kernel.name));
      }
      case CUPTI_ACTIVITY_KIND_MEMCPY: {
        const auto& copy = *reinterpret_cast<const CUpti_ActivityMemcpy6*>(record);
        return line(copy.streamId, copy.start, copy.end, "copy");
      }
      case CUPTI_ACTIVITY_KIND_MEMSET: {
        const auto& set = *reinterpret_cast<const CUpti_ActivityMemset4*>(record);
        return line(set.streamId, set.start, set.end, "fill");
      }
      default: return;
    }
  }
  void flush() {
    if (file_) std::fflush(file_);
  }

 private:
  static std::string short_name(const char* mangled) {
    int status = 0;
    char* const plain = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
    std::string name = plain ? plain : mangled;
    std::free(plain);
    // "void retain::(anonymous namespace)::add<float>(float*)" is add
    const std::string unnamed = "(anonymous namespace)::";
    if (const size_t at = name.find(unnamed); at != std::string::npos) name.erase(at, unnamed.size());
    name.resize(std::min(name.find_first_of("<("), name.size()));
    return name.substr(name.find_last_of(" :") + 1);
  }
  void line(uint32_t stream, uint64_t begin, uint64_t end, const std::string& name) {
    const std::lock_guard lock(mutex_);
    if (!file_) file_ = open();
    if (file_) {
      std::fprintf(file_, "%u\t%llu\t%llu\t%s\n", stream, static_cast<unsigned long long>(begin),
                   static_cast<unsigned long long>(end), name.c_str());
    }
  }
  // Only what has something to say takes a name: mpirun itself may look for GPUs.
  static std::FILE* open() {
    const char* const path = std::getenv("RETAIN_TIMELINE");
    const char* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
    return std::fopen((std::string(path ? path : "timeline") + "." + (rank ? rank : "0")).c_str(), "w");
  }

  std::mutex mutex_;
  std::FILE* file_ = nullptr;
};

// CUPTI calls back without a pointer of ours, until the process ends.
Timeline& timeline() {
  static auto* const only = new Timeline;
  return *only;
}

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* bytes, size_t* records) {
  *bytes = kBufferBytes;
  *records = 0;
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid_bytes) {
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid_bytes, &record) == CUPTI_SUCCESS) timeline().write(record);
  std::free(buffer);
}

void finish() {
  cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  timeline().flush();
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int InitializeInjection() {
  cuptiActivityRegisterCallbacks(give_buffer, take_buffer);
  for (const CUpti_ActivityKind kind :
       {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET}) {
    if (cuptiActivityEnable(kind) != CUPTI_SUCCESS) std::fputs("timeline: CUPTI refuses\n", stderr);
  }
  std::atexit(finish);
  return 1;
}
