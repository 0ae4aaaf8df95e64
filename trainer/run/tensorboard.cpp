#include "trainer/run/tensorboard.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <filesystem>
#include <string_view>

#include "parallel/host_name.h"
#include "trainer/tensorboard.pb.h"

namespace retain {
namespace {

static_assert(std::endian::native == std::endian::little, "records are written as they lie in memory");

/// CRC-32C (Castagnoli, reflected), by bytes.
uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
      table[i] = i;
      for (int bit = 0; bit < 8; ++bit) table[i] = (table[i] >> 1) ^ ((table[i] & 1) ? 0x82f63b78u : 0u);
    }
    return table;
  }();
  uint32_t crc = ~0u;
  for (const char byte : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(byte)) & 0xff];
  return ~crc;
}

template <class T>
std::string bytes_of(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

/// As TFRecord stores it: a CRC of data that hold CRCs would be weak.
std::string masked_crc(std::string_view bytes) { return bytes_of(std::rotr(crc32c(bytes), 15) + 0xa282ead8u); }

std::string record(const tensorboard::Event& event) {
  const std::string data = event.SerializeAsString(), length = bytes_of(static_cast<uint64_t>(data.size()));
  return length + masked_crc(length) + data + masked_crc(data);
}

constexpr std::string_view kPrefix = "events.out.tfevents.";  // and the second, in ten digits

/// The second in the name of the newest file; -1 if there is none. TensorBoard reads files in the order of their names,
/// and two starts may fall into one second, or the clock of another node be late.
int64_t newest_second(const std::string& folder) {
  int64_t newest = -1;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    int64_t second = 0;
    if (!name.starts_with(kPrefix)) continue;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), second);
    newest = std::max(newest, second);
  }
  return newest;
}

}  // namespace

std::string tensorboard_version(double wall_time) {
  tensorboard::Event event;
  event.set_wall_time(wall_time);
  event.set_file_version("brain.Event:2");
  return record(event);
}

std::string tensorboard_start(double wall_time, int64_t step) {
  tensorboard::Event event;
  event.set_wall_time(wall_time);
  event.set_step(step);
  event.mutable_session_log()->set_status(tensorboard::SessionLog::START);
  return record(event);
}

std::string tensorboard_scalars(double wall_time, int64_t step, const Scalars& scalars) {
  tensorboard::Event event;
  event.set_wall_time(wall_time);
  event.set_step(step);
  for (const auto& [tag, value] : scalars) {
    tensorboard::Summary::Value* const entry = event.mutable_summary()->add_value();
    entry->set_tag(tag);
    entry->set_simple_value(static_cast<float>(value));
  }
  return record(event);
}

std::string tensorboard_file_name(const std::string& folder, double wall_time) {
  return fmt::format("{}{:010}.{}.{}.0", kPrefix, std::max(static_cast<int64_t>(wall_time), newest_second(folder) + 1),
                     host_name(), getpid());
}

}  // namespace retain
