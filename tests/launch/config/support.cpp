#include "tests/launch/config/support.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace retain::test {
namespace {

constexpr const char* kGood = R"(
run: {dir: runs/test}
model: {layers: 2, hidden_size: 64, heads: 4, ffn_size: 64, vocab_size: 257}
data: {train: [{path: data/train}], valid: {book: data/book}, seq_len: 64}
train: {tokens: 512k, batch_tokens: 512, micro_batch_tokens: 128}
)";

}  // namespace

std::string source_path(const std::string& relative) { return std::string(RETAIN_SOURCE_DIR) + "/" + relative; }

std::string read_source(const std::string& relative) {
  std::ifstream in(source_path(relative), std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

ConfigSources sources_of(const std::string& text) {
  ConfigSources sources;
  sources.working_directory = "/base";
  sources.variables = [](const std::string& name) {
    return name == "HOME"      ? std::optional<std::string>("/home/me")
           : name == "SCRATCH" ? std::optional<std::string>("/scratch")
                               : std::nullopt;
  };
  sources.files = {{"run.yaml", text}, {"good.yaml", kGood}};
  return sources;
}

std::string complaint(const std::string& text, const std::vector<std::string>& sets, int ranks) {
  try {
    parse_config(sources_of(text), sets, ranks);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

void expect_golden(const std::string& text, const std::string& relative) {
  if (text == read_source(relative)) return;
  const std::filesystem::path copy = std::filesystem::path("golden") / relative;
  std::filesystem::create_directories(copy.parent_path());
  std::ofstream(copy, std::ios::binary) << text;
  ADD_FAILURE() << relative << " is out of date; to see and to accept the difference:\n  diff " << source_path(relative)
                << " " << std::filesystem::absolute(copy).string() << "\n  cp "
                << std::filesystem::absolute(copy).string() << " " << source_path(relative);
}

}  // namespace retain::test
