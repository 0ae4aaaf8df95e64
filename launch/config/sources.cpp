// Reads the files of a configuration, and packs them for the other ranks.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "kernels/core/text.h"
#include "launch/config/base.h"
#include "launch/config/reader.h"
#include "launch/config/yaml.h"

namespace retain {
namespace {

// Of all files together: fifty times what people write. yaml-cpp takes time with the square of a list in brackets,
// here 2 s at worst.
constexpr size_t kMostBytes = size_t{128} << 10;
constexpr size_t kMostFiles = 64;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

/// Reads a whole file, or says why not.
bool read_file(const std::string& name, std::string& text, ConfigSources& sources, const std::string& named_by) {
  const auto fail = [&](ErrorKind kind, const std::string& why) {
    sources.failure_kind = kind;
    sources.failure = concat("cannot read the configuration '", escape_controls(name), "'", named_by, ": ", why);
    return false;
  };
  errno = 0;
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(name.c_str(), "rb"));
  if (!file) return fail(ErrorKind::kMissingInput, std::generic_category().message(errno));
  size_t known = 0;
  for (const ConfigSources::File& other : sources.files) known += other.text.size();
  text.resize(kMostBytes - known + 1);
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get())) return fail(ErrorKind::kMissingInput, std::generic_category().message(errno));
  if (text.size() > kMostBytes - known)
    return fail(ErrorKind::kConfig, concat("a configuration has at most ", kMostBytes, " bytes, with its base files"));
  return true;
}

// Strings are packed as 8 bytes of length, least significant first, and the bytes.
void pack(std::string& out, std::string_view text) {
  for (int i = 0; i < 8; ++i) out += static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i));
  out += text;
}

std::string unpack(std::string_view& bytes) {
  const auto check = [](bool good) {
    if (!good) throw Error(ErrorKind::kInternal, "the packed configuration is cut off");
  };
  check(bytes.size() >= 8);
  uint64_t length = 0;
  for (int i = 0; i < 8; ++i) length |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  bytes.remove_prefix(8);
  check(bytes.size() >= length);
  std::string text(bytes.substr(0, length));
  bytes.remove_prefix(length);
  return text;
}

}  // namespace

std::string base_name(const std::string& including, const std::string& base) {
  const std::filesystem::path path(base);
  return (std::filesystem::path(including).parent_path() / path).lexically_normal().string();
}

ConfigSources read_config_sources(const std::string& path) {
  ConfigSources sources;
  std::error_code error;
  sources.working_directory = std::filesystem::current_path(error).string();
  sources.files.push_back({path, ""});
  std::vector<std::string> named_by = {""};
  for (size_t i = 0; i < sources.files.size(); ++i) {  // base files are appended on the way
    ConfigSources::File& file = sources.files[i];
    if (!read_file(file.name, file.text, sources, named_by[i])) return sources;
    std::vector<ReadProblem> ignored;  // parse_config reports them
    const Origin start = {Origin::Kind::kFile, static_cast<int>(i), 1, 1};
    const std::string including = file.name;
    for (const ConfigNode& base : base_entries(parse_yaml(file.text, start, ignored))) {
      const std::string name = base_name(including, base.text);
      bool known = false;
      for (const ConfigSources::File& other : sources.files) known = known || other.name == name;
      if (known) continue;
      if (sources.files.size() == kMostFiles) {
        sources.failure_kind = ErrorKind::kConfig;
        sources.failure = concat("'", escape_controls(path), "' builds on more than ", kMostFiles - 1, " base files");
        return sources;
      }
      sources.files.push_back({name, ""});
      named_by.push_back(concat(" (base of ", escape_controls(including), ":", base.at.line, ")"));
    }
  }
  return sources;
}

std::string ConfigSources::serialize() const {
  std::string out;
  pack(out, working_directory);
  pack(out, failure);
  pack(out, std::to_string(static_cast<int>(failure_kind)));
  for (const File& file : files) {
    pack(out, file.name);
    pack(out, file.text);
  }
  return out;
}

ConfigSources ConfigSources::deserialize(std::string_view bytes) {
  ConfigSources sources;
  sources.working_directory = unpack(bytes);
  sources.failure = unpack(bytes);
  sources.failure_kind = unpack(bytes) == std::to_string(static_cast<int>(ErrorKind::kConfig))
                             ? ErrorKind::kConfig
                             : ErrorKind::kMissingInput;
  while (!bytes.empty()) {
    File file;
    file.name = unpack(bytes);
    file.text = unpack(bytes);
    sources.files.push_back(std::move(file));
  }
  return sources;
}

}  // namespace retain
