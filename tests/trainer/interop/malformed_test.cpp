// A folder of weights comes from a stranger: 10,000 damaged ones give an error or a model, never a crash, and the
// memory does not grow.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <cstdint>
#include <iterator>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/data/token_files.h"
#include "trainer/interop/model_config_writer.h"
#include "trainer/interop/model_import.h"
#include "trainer/interop/safetensors_folder.h"

namespace retain::test {
namespace {

using Random = std::mt19937_64;

/// Bits, bytes, words that numbers and names are made of, pieces cut out or doubled.
std::string mutated(std::string bytes, Random& random) {
  static constexpr auto kWords = std::to_array<const char*>(
      {"9223372036854775807",  "-1",           "1e308",     "0",          "null", "[[[[[[[[", "{",  "}",       "\"",
       "18446744073709551616", "1048576",      "true",      "4294967296", "F32",  "BF16",     "I4", "\\u0000", "\xff",
       "data_offsets",         "__metadata__", "2147483648"});
  const auto below = [&](size_t n) { return n == 0 ? 0 : static_cast<size_t>(random() % n); };
  for (uint64_t i = 0, changes = 1 + random() % 3; i < changes; ++i) {
    const size_t at = below(bytes.size()), some = std::min(bytes.size() - at, 1 + below(24));
    switch (random() % 7) {
      case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8)); break;
      case 1: bytes[at] = static_cast<char>(random()); break;
      case 2: bytes.insert(at, kWords[below(kWords.size())]); break;
      case 3: bytes.replace(at, some, kWords[below(kWords.size())]); break;
      case 4: bytes.erase(at, some); break;
      case 5: bytes.insert(at, bytes.substr(below(bytes.size()), some)); break;
      default: bytes.resize(at); break;
    }
    if (bytes.empty()) bytes = " ";
  }
  return bytes;
}

/// A number of a file: where JSON has one, another one.
std::string with_another_number(std::string bytes, Random& random) {
  std::vector<size_t> digits;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] >= '0' && bytes[i] <= '9') digits.push_back(i);
  }
  if (!digits.empty()) bytes[digits[random() % digits.size()]] = static_cast<char>('0' + random() % 10);
  return bytes;
}

int64_t peak_memory_kilobytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

/// A whole folder: name -> bytes.
using Files = std::map<std::string, std::string>;

Files whole_folder(const std::string& folder, ForeignLayout layout) {
  ModelConfig model;
  model.layers = 1;
  model.hidden_size = 8;
  model.heads = 2;
  model.ffn_size = 6;
  model.vocab_size = 5;
  if (layout == ForeignLayout::kTorchscale) {
    model.rotary = Rotary::kTorchscale;
    model.group_norm_eps = GroupNormEps::kRowsum;
    model.group_norm_affine = false;
  }
  write_file(folder + "/config.json", format_foreign_config(model, layout, {}, DType::kFloat32));
  std::array<std::vector<SafetensorsTensor>, 2> shards;
  const std::vector<float> values(1000, 0.5F);
  std::string map;
  for (const ForeignParameter& parameter : foreign_parameters(model, layout)) {
    const size_t shard = shards[0].size() < 8 ? 0 : 1;
    shards[shard].push_back({parameter.foreign_name, "F32", parameter.shape,
                             std::as_bytes(std::span(values)).first(static_cast<size_t>(parameter.elements() * 4))});
    map += concat(map.empty() ? "" : ",", "\"", parameter.foreign_name, "\":\"", weights_shard_name(shard, 2), "\"");
  }
  for (size_t i = 0; i < 2; ++i) write_safetensors(concat(folder, "/", weights_shard_name(i, 2)), shards[i]);
  write_file(folder + "/" + kIndexFileName, concat("{\"metadata\":{\"total_size\":8},\"weight_map\":{", map, "}}"));
  Files files;
  for (const std::string& name : {std::string("config.json"), std::string(kIndexFileName), weights_shard_name(0, 2)})
    files[name] = read_file(concat(folder, "/", name));
  return files;
}

TEST(MalformedFolders, GiveErrorsAndTakeNoMemory) {
  constexpr int kFolders = 10'000;
  const TemporaryDirectory directory(TemporaryDirectory::Where::kMemory);
  const std::string folder = directory.path().string();
  Random random(16);  // NOLINT: the same folders every time
  int refused = 0, read = 0;
  int64_t before = 0;
  Files files;
  for (int i = 0; i < kFolders; ++i) {
    if (i % (kFolders / 2) == 0) {  // half of them of each layout
      files = whole_folder(folder, i == 0 ? ForeignLayout::kFla : ForeignLayout::kTorchscale);
      ASSERT_NO_THROW(read_model_folder(folder));
      if (i == 0) before = peak_memory_kilobytes();
    }
    const auto spoiled = std::next(files.begin(), static_cast<int64_t>(random() % files.size()));
    const bool number = random() % 4 == 0;
    write_file(concat(folder, "/", spoiled->first),
               number ? with_another_number(spoiled->second, random) : mutated(spoiled->second, random));
    try {
      const ImportedModel model = read_model_folder(folder);
      for (const ForeignParameter& parameter : model.parameters()) model.read(parameter.name);
      ++read;
    } catch (const Error& error) {
      EXPECT_TRUE(error.kind() == ErrorKind::kData || error.kind() == ErrorKind::kMissingInput) << error.what();
      ++refused;
    }
    write_file(concat(folder, "/", spoiled->first), spoiled->second);
  }
  EXPECT_GT(refused, kFolders / 3);
  EXPECT_GT(read, kFolders / 100) << "not all of them are refused at once";
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which keep freed memory for a while
  EXPECT_LT(peak_memory_kilobytes() - before, 64 << 10);
#endif
}

}  // namespace
}  // namespace retain::test
