#include "kernels/core/host_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernels/core/error.h"

namespace retain {

HostPages::HostPages(int64_t bytes) : bytes_(bytes) {
  RETAIN_CHECK(bytes >= 0, "bytes is ", bytes);
  if (bytes == 0) return;
  const auto size = static_cast<size_t>(bytes);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error(ErrorKind::kOutOfMemory,
                concat("cannot allocate ", bytes, " bytes of host memory: ", std::strerror(errno)));
  }
  data_ = static_cast<std::byte*>(memory);
  // Large pages come and are page-locked several times as fast; where there are none, small ones do.
  static_cast<void>(::madvise(memory, size, MADV_HUGEPAGE));
  const int64_t page_bytes = ::sysconf(_SC_PAGESIZE);
  for (int64_t at = 0; at < bytes; at += page_bytes) static_cast<volatile char*>(memory)[at] = 0;
}

HostPages::~HostPages() {
  if (data_) static_cast<void>(::munmap(data_, static_cast<size_t>(bytes_)));
}

}  // namespace retain
