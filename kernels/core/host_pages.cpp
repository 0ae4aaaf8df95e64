#include "kernels/core/host_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/processors.h"

namespace retain {

namespace {

/// Writes to every page, so that the system provides it: clearing them is the work, at a few GB/s a thread.
void provide(char* memory, int64_t bytes) {
  constexpr int64_t kShareBytes = int64_t{256} << 20;  // less is not worth a thread
  constexpr int64_t kMostThreads = 8;                  // a node's ranks do this at the same time
  const int64_t page_bytes = ::sysconf(_SC_PAGESIZE);
  const int64_t cores = threads_of_rank(read_processor_limits(), 1);
  const int64_t threads = std::clamp<int64_t>(bytes / kShareBytes, 1, std::min(cores, kMostThreads));
  const int64_t pages = (bytes + page_bytes - 1) / page_bytes;
  const auto touch = [=](int64_t first, int64_t end) {
    for (int64_t page = first; page < end; ++page) static_cast<volatile char*>(memory)[page * page_bytes] = 0;
  };
  std::vector<std::jthread> others;
  others.reserve(static_cast<size_t>(threads));
  int64_t next = 1;
  try {
    for (; next < threads; ++next) others.emplace_back(touch, next * pages / threads, (next + 1) * pages / threads);
  } catch (const std::system_error&) {
    touch(next * pages / threads, pages);  // the system gives no more threads
  }
  touch(0, pages / threads);
}

}  // namespace

HostPages::HostPages(int64_t bytes) {
  RETAIN_CHECK(bytes >= 0, "bytes is ", bytes);
  if (bytes == 0) return;
  const auto size = static_cast<size_t>(bytes);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error(ErrorKind::kOutOfMemory,
                concat("cannot allocate ", bytes, " bytes of host memory: ", std::strerror(errno)));
  }
  mapping_ = {static_cast<std::byte*>(memory), Unmap{bytes}};
  // Large pages come and are page-locked several times as fast; where there are none, small ones do.
  static_cast<void>(::madvise(memory, size, MADV_HUGEPAGE));
  provide(static_cast<char*>(memory), bytes);
}

void HostPages::Unmap::operator()(std::byte* memory) const {
  static_cast<void>(::munmap(memory, static_cast<size_t>(bytes)));
}

}  // namespace retain
