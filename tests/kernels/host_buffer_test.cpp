// Copies to the host and from it beside the queue.
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <system_error>
#include <thread>

#include "kernels/core/host_pages.h"
#include "tests/support/backends.h"

namespace retain::test {
namespace {

class HostBuffers : public BackendTest {
 protected:
  static Values read(const HostBuffer& buffer, int64_t elements) {
    std::vector<float> values(static_cast<size_t>(elements));
    std::memcpy(values.data(), buffer.data(), values.size() * sizeof(float));
    return {values.begin(), values.end()};
  }
};

TEST_P(HostBuffers, BeginAsZeros) {
  const auto buffer = backend().make_host_buffer(5'000'001);
  ASSERT_EQ(buffer->bytes(), 5'000'001);
  for (int64_t i = 0; i < buffer->bytes(); ++i) ASSERT_EQ(buffer->data()[i], std::byte{0}) << i;
}

TEST_P(HostBuffers, TakeTensorsOneAfterTheOther) {
  const Values first = rounded(DType::kFloat32, random_values(1000, 1)), second = {7, 8, 9};
  const DeviceTensor a(backend(), DType::kFloat32, {10, 100}, first), b(backend(), DType::kFloat32, {3}, second);
  const auto buffer = backend().make_host_buffer(1003 * 4);
  buffer->begin_copy(std::array{a.view(), b.view()});
  EXPECT_GE(buffer->wait(), 0);
  Values want = first;
  want.insert(want.end(), second.begin(), second.end());
  EXPECT_EQ(read(*buffer, 1003), want);
}

// The queue does not wait for the copies here, nor the copies for each other: what each one takes is what was there
// when it was begun, though the tensor changes at once, and another thread waits for it.
TEST_P(HostBuffers, TakeWhatWasThereWhenTheCopyWasBegun) {
  constexpr int64_t kElements = int64_t{4} << 20;
  const DeviceTensor x(backend(), DType::kFloat32, {kElements}, Values(kElements, 0.0));
  const auto buffer = backend().make_host_buffer(kElements * 4);
  buffer->hold_queue();  // nothing is under way yet
  for (int i = 1; i <= 5; ++i) {
    for (int j = 0; j < 5; ++j) backend().fill(x, 100 * i + j);  // the copy may not overtake these
    buffer->begin_copy(std::array{x.view()});
    buffer->hold_queue();
    backend().fill(x, -1);
    std::jthread([&] { buffer->wait(); }).join();
    const Values got = read(*buffer, kElements);
    ASSERT_EQ(got, Values(kElements, 100 * i + 4)) << "copy " << i;
  }
}

// The tensor is filled though the queue still has work on another one, and what reads it comes after.
TEST_P(HostBuffers, FillATensorBesideTheQueue) {
  constexpr int64_t kElements = int64_t{1} << 20;
  const DeviceTensor busy(backend(), DType::kFloat32, {kElements}), x(backend(), DType::kFloat32, {kElements}),
      y(backend(), DType::kFloat32, {kElements});
  const auto buffer = backend().make_host_buffer(kElements * 4);
  for (int i = 1; i <= 5; ++i) {
    const std::vector<float> values(kElements, static_cast<float>(i));
    std::memcpy(buffer->data(), values.data(), values.size() * sizeof(float));
    for (int j = 0; j < 20; ++j) backend().fill(busy, j);
    buffer->begin_upload(x);
    buffer->hold_queue();
    backend().copy(y, x);
    ASSERT_EQ(y.values(), Values(kElements, i)) << "upload " << i;
    EXPECT_GE(buffer->wait(), 0);
  }
}

TEST_P(HostBuffers, RefuseWhatDoesNotFit) {
  const DeviceTensor x(backend(), DType::kFloat32, {10}, Values(10, 1.0));
  const auto buffer = backend().make_host_buffer(40);
  EXPECT_THROW(buffer->begin_copy(std::array{x.view(), x.view().slice(0, 0, 1)}), Error);
  const DeviceTensor y(backend(), DType::kFloat32, {4, 4}, Values(16, 1.0));
  EXPECT_THROW(buffer->begin_copy(std::array{y.view().slice(1, 0, 2)}), Error);
  EXPECT_THROW(buffer->begin_upload(y.view().slice(1, 0, 2)), Error);
  EXPECT_THROW(buffer->begin_upload(y), Error);
}

TEST_P(HostBuffers, OfTooMuchAreAnErrorThatSaysHowMuch) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers end the program there";
#endif
  try {
    backend().make_host_buffer(int64_t{1} << 60);
    FAIL() << "got an exabyte";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kOutOfMemory);
    EXPECT_NE(std::string(error.what()).find("1152921504606846976"), std::string::npos) << error.what();
  }
}

// Threads whose stacks are larger than the address space do not start.
TEST(HostPages, AreThereThoughNoThreadStarts) {
  pthread_attr_t before, huge;
  ASSERT_EQ(pthread_getattr_default_np(&before), 0);
  ASSERT_EQ(pthread_getattr_default_np(&huge), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 60), 0);
  ASSERT_EQ(pthread_setattr_default_np(&huge), 0);
  EXPECT_THROW(std::jthread([] {}), std::system_error) << "the test is wrong";
  constexpr int64_t kBytes = int64_t{512} << 20;  // enough for two threads
  EXPECT_NO_THROW({
    const HostPages pages(kBytes);
    EXPECT_EQ(pages.data()[kBytes - 1], std::byte{0});
    std::vector<unsigned char> there(static_cast<size_t>(kBytes / ::sysconf(_SC_PAGESIZE)));
    EXPECT_EQ(::mincore(pages.data(), static_cast<size_t>(kBytes), there.data()), 0);
    EXPECT_EQ(std::count(there.begin(), there.end(), 0), 0) << "pages that nothing has touched";
  });
  EXPECT_EQ(pthread_setattr_default_np(&before), 0);
  pthread_attr_destroy(&before);
  pthread_attr_destroy(&huge);
}

INSTANTIATE_TEST_SUITE_P(Backends, HostBuffers,
                         testing::Values(BackendCase{"cpu", false, DType::kFloat32, 0},
                                         BackendCase{"cuda", true, DType::kFloat32, 0}),
                         backend_case_name);

}  // namespace
}  // namespace retain::test
