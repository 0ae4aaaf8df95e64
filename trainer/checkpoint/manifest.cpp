#include "trainer/checkpoint/manifest.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "trainer/checkpoint/checksum.h"
#include "trainer/json.h"

namespace retain {

namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxExtent = int64_t{1} << 48;  // of a dim, a file, a counter: products of bytes stay in range
constexpr int64_t kMaxElements = int64_t{1} << 56;
constexpr size_t kMaxNameBytes = 4096;
constexpr std::string_view kTrailerBegin = ",\n\"checksum\":\"";
constexpr std::string_view kTrailerEnd = "\"}\n";

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::kData, message); }

// ---- out ----

// One line of JSON. Bytes that are not UTF-8 (a strange file name in the configuration) must not make a save fail.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json json_of(const FileRecord& file) {
  Json blocks = Json::array();
  for (const uint64_t block : file.blocks) blocks.push_back(to_hex(block));
  return {{"file", file.name}, {"bytes", file.bytes}, {"blocks", std::move(blocks)}};
}

Json json_of(const StateDigests& digests) {
  Json json = Json::array();
  for (const uint64_t digest : digests) json.push_back(to_hex(digest));
  return json;
}

Json json_of(const ShardRecord& shard) {
  Json json = json_of(shard.file);
  Json boxes = Json::array();
  for (const StoredBox& b : shard.boxes) {
    boxes.push_back({{"tensor", b.tensor},
                     {"offset", {b.box.first_row, b.box.first_column}},
                     {"shape", {b.box.rows, b.box.columns}},
                     {"at", b.file_offset}});
  }
  json["boxes"] = std::move(boxes);
  if (!shard.digests.empty()) {
    for (const StateDigests& digests : shard.digests) json["digests"].push_back(json_of(digests));
  }
  return json;
}

Json json_of(const TensorRecord& tensor) {
  Json json = {{"name", tensor.name}, {"shape", tensor.global_shape}};
  if (tensor.digests) json["digests"] = json_of(*tensor.digests);
  return json;
}

// An array with one element a line.
std::string lines(const std::vector<std::string>& elements) {
  std::string text = "[";
  for (size_t i = 0; i < elements.size(); ++i) text += (i ? ",\n  " : "\n  ") + elements[i];
  return text + "]";
}

// ---- in ----

int64_t counter(const JsonReader& value) { return value.whole_number(0, kMaxExtent); }

// Numbers of an array of that size.
template <size_t kSize>
std::array<int64_t, kSize> numbers(const JsonReader& value) {
  std::array<int64_t, kSize> numbers;
  std::ranges::copy(value.whole_numbers(kSize, kSize, kMaxExtent), numbers.begin());
  return numbers;
}

void check_name(const std::string& name) {
  const bool legal = !name.empty() && name.size() <= kMaxNameBytes && name.find("..") == std::string::npos &&
                     std::all_of(name.begin(), name.end(), [](unsigned char c) {
                       return (c < 128 && std::isalnum(c)) || c == '.' || c == '_' || c == '-' || c == '/';
                     });
  if (!legal) refuse("illegal name of " + std::to_string(name.size()) + " bytes");
}

uint64_t hexadecimal(const JsonReader& value) {
  uint64_t number = 0;
  if (!from_hex(value.text(), number)) value.refuse("sixteen hexadecimal digits");
  return number;
}

StateDigests state_digests(const JsonReader& json) {
  const std::vector<JsonReader> elements = json.elements();
  if (elements.size() != kStates) json.refuse(concat(kStates, " digests"));
  StateDigests digests{};
  std::ranges::transform(elements, digests.begin(), hexadecimal);
  return digests;
}

FileRecord file_record(const JsonReader& json) {
  FileRecord file{json.at("file").text(), counter(json.at("bytes")), {}};
  check_name(file.name);
  for (const JsonReader& block : json.at("blocks").elements()) file.blocks.push_back(hexadecimal(block));
  const int64_t want = (file.bytes + kChecksumBlockBytes - 1) / kChecksumBlockBytes;
  if (static_cast<int64_t>(file.blocks.size()) != want) {
    refuse(concat(file.name, ": ", file.blocks.size(), " checksums, want ", want));
  }
  return file;
}

ShardRecord shard_record(const JsonReader& json) {
  ShardRecord shard{file_record(json), {}};
  for (const JsonReader& box : json.at("boxes").elements()) {
    const auto offset = numbers<2>(box.at("offset")), shape = numbers<2>(box.at("shape"));
    shard.boxes.push_back(
        {box.at("tensor").text(), {offset[0], offset[1], shape[0], shape[1]}, numbers<kStates>(box.at("at"))});
  }
  if (const JsonReader digests = json.at("digests"); digests.exists())
    for (const JsonReader& of_tensor : digests.elements()) shard.digests.push_back(state_digests(of_tensor));
  return shard;
}

RunState run_state(const JsonReader& json) {
  RunState state;
  state.step = counter(json.at("step"));
  state.tokens = counter(json.at("tokens"));
  state.next_sample = counter(json.at("next_sample"));
  state.seed = hexadecimal(json.at("seed"));
  const auto mesh = numbers<3>(json.at("mesh"));
  for (const int64_t n : mesh) {
    if (n < 1 || n > (1 << 20)) refuse("'mesh' is out of range");
  }
  state.mesh = {static_cast<int>(mesh[0]), static_cast<int>(mesh[1]), static_cast<int>(mesh[2])};
  state.zero = static_cast<int>(json.at("zero").whole_number(0, 3));
  const JsonReader loss = json.at("valid_loss");
  if (!loss.exists() || !loss.json().is_null()) state.valid_loss = loss.number();
  state.build = json.at("build").text();
  state.config_text = json.at("config").text();
  state.identity = json.at("identity").texts();
  const JsonReader extra = json.at("extra");
  if (extra.exists() && extra.at("resumed_from").exists()) state.resumed_from = extra.at("resumed_from").text();
  if (extra.exists() && extra.at("numerics").exists()) state.numerics = extra.at("numerics").text();
  if (extra.exists() && extra.at("data_order").exists())
    state.data_order = static_cast<int>(std::strtol(extra.at("data_order").text().c_str(), nullptr, 10));
  state.validation_due = extra.exists() && extra.at("validation").exists() && extra.at("validation").text() == "due";
  return state;
}

// Every box lies in its tensor and in its file, and the boxes of a tensor cover it exactly once.
void check_boxes(const Manifest& manifest) {
  std::map<std::string, std::vector<Box>> boxes;
  for (const TensorRecord& tensor : manifest.tensors) {
    check_name(tensor.name);
    int64_t elements = 1;
    for (const int64_t n : tensor.global_shape) {
      if (n < 1 || __builtin_mul_overflow(elements, n, &elements) || elements > kMaxElements) {
        refuse(concat(tensor.name, ": its shape is out of range"));
      }
    }
    if (!boxes.emplace(tensor.name, std::vector<Box>{}).second) refuse(concat("tensor ", tensor.name, " twice"));
  }
  for (size_t i = 0; i < manifest.shards.size(); ++i) {
    const ShardRecord& shard = manifest.shards[i];
    const std::string want = shard_file_name(static_cast<int>(i), static_cast<int>(manifest.shards.size()));
    if (shard.file.name != want) refuse(concat("shard ", i, " is called ", shard.file.name, ", want ", want));
    for (const StoredBox& b : shard.boxes) {
      const auto found = boxes.find(b.tensor);
      if (found == boxes.end()) refuse(concat(want, " holds a tensor that is not listed"));
      found->second.push_back(b.box);
    }
  }
  for (const TensorRecord& tensor : manifest.tensors) {
    const std::string problem = find_tiling_problem(tensor.global_shape, boxes[tensor.name]);
    if (!problem.empty()) refuse(concat(tensor.name, ": ", problem));
  }
  // Now boxes are known to be small enough for byte arithmetic.
  for (const ShardRecord& shard : manifest.shards) {
    for (const StoredBox& b : shard.boxes) {
      for (const int64_t offset : b.file_offset) {
        if (offset + b.box.elements() * dtype_bytes(manifest.dtype) > shard.file.bytes) {
          refuse(concat(b.tensor, " ", describe(b.box), " reaches past the end of ", shard.file.name));
        }
      }
    }
  }
}

}  // namespace

int64_t Manifest::parameters() const {
  int64_t count = 0;
  for (const TensorRecord& tensor : tensors) count += whole_box(tensor.global_shape).elements();
  return count;
}

int64_t Manifest::total_bytes() const {
  int64_t bytes = view.bytes;
  for (const ShardRecord& shard : shards) bytes += shard.file.bytes;
  return bytes;
}

std::string shard_file_name(int rank, int size) {
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "shard-%05d-of-%05d.h5", rank, size);
  return name.data();
}

std::string dataset_path(const std::string& tensor, int box, int state) {
  const std::string group = box == 0 ? "" : concat("box", box, "/");
  return concat("/param/", tensor, "/", group, kStateNames[static_cast<size_t>(state)]);
}

std::string to_text(const ShardRecord& shard) { return dump(json_of(shard)); }
ShardRecord parse_shard_record(std::string_view text) {
  const Json json = parse_strict_json(text, "");
  return shard_record({json, ""});
}

std::string to_text(const Manifest& manifest) {
  const RunState& state = manifest.state;
  std::vector<std::string> tensors, shards;
  for (const TensorRecord& tensor : manifest.tensors) {
    tensors.push_back(dump(json_of(tensor)));
  }
  for (const ShardRecord& shard : manifest.shards) shards.push_back(to_text(shard));
  // JSON knows no NaN: null stands for "no loss yet".
  const Json loss = std::isfinite(state.valid_loss) ? Json(state.valid_loss) : Json();
  std::map<std::string, std::string> extra;
  if (!state.resumed_from.empty()) extra["resumed_from"] = state.resumed_from;
  if (!state.numerics.empty()) extra["numerics"] = state.numerics;
  if (state.validation_due) extra["validation"] = "due";
  if (state.data_order != 1) extra["data_order"] = std::to_string(state.data_order);
  const std::vector<std::pair<const char*, std::string>> members = {
      {"format", "\"retain-checkpoint\""},
      {"version", std::to_string(Manifest::kVersion)},
      {"step", std::to_string(state.step)},
      {"tokens", std::to_string(state.tokens)},
      {"next_sample", std::to_string(state.next_sample)},
      {"seed", dump(Json(to_hex(state.seed)))},
      {"mesh", dump(Json({state.mesh.dp, state.mesh.cp, state.mesh.tp}))},
      {"zero", std::to_string(state.zero)},
      {"valid_loss", dump(loss)},
      {"build", dump(Json(state.build))},
      {"config", dump(Json(state.config_text))},
      {"config_checksum",
       dump(Json(to_hex(checksum(state.config_text.data(), static_cast<int64_t>(state.config_text.size())))))},
      {"identity", dump(Json(state.identity))},
      {"extra", dump(Json(extra))},
      {"dtype", dump(Json(dtype_name(manifest.dtype)))},
      {"states", dump(Json(kStateNames))},
      {"block_bytes", std::to_string(kChecksumBlockBytes)},
      {"tensors", lines(tensors)},
      {"shards", lines(shards)},
      {"view", dump(json_of(manifest.view))},
  };
  std::string text = "{";
  for (const auto& [key, value] : members) text += concat(text.size() > 1 ? ",\n\"" : "\"", key, "\":", value);
  const uint64_t sum = checksum(text.data(), static_cast<int64_t>(text.size()));
  return concat(text, kTrailerBegin, to_hex(sum), kTrailerEnd);
}

Manifest parse_manifest(std::string_view text_in) {
  if (static_cast<int64_t>(text_in.size()) > kManifestLimitBytes) refuse("manifest too large");
  const size_t trailer_bytes = kTrailerBegin.size() + 16 + kTrailerEnd.size();
  if (text_in.size() < trailer_bytes) refuse(concat("manifest has only ", text_in.size(), " bytes"));
  const std::string_view body = text_in.substr(0, text_in.size() - trailer_bytes);
  const std::string_view trailer = text_in.substr(body.size());
  uint64_t want = 0;
  if (!trailer.starts_with(kTrailerBegin) || !trailer.ends_with(kTrailerEnd) ||
      !from_hex(trailer.substr(kTrailerBegin.size(), 16), want)) {
    refuse("manifest is cut off: no checksum in its last line");
  }
  const uint64_t got = checksum(body.data(), static_cast<int64_t>(body.size()));
  if (got != want) refuse(concat("manifest's checksum is ", to_hex(got), ", want ", to_hex(want)));

  const Json parsed = parse_strict_json(text_in, "");
  const JsonReader json(parsed, "");
  if (json.at("format").text() != "retain-checkpoint") refuse("not a checkpoint of Retain");
  const int64_t version = counter(json.at("version"));
  if (version > Manifest::kVersion) {
    refuse(concat("written in format version ", version, ", this program reads up to ", Manifest::kVersion));
  }
  Manifest manifest;
  manifest.state = run_state(json);
  const std::string dtype = json.at("dtype").text();
  if (dtype != "float32" && dtype != "float64") refuse("'dtype' is neither float32 nor float64");
  manifest.dtype = dtype == "float64" ? DType::kFloat64 : DType::kFloat32;
  if (counter(json.at("block_bytes")) != kChecksumBlockBytes)
    refuse("'block_bytes' is not that of this format version");
  for (const JsonReader& tensor : json.at("tensors").elements()) {
    TensorRecord record{tensor.at("name").text(), tensor.at("shape").whole_numbers(1, 2, kMaxExtent), {}};
    if (tensor.at("digests").exists()) record.digests = state_digests(tensor.at("digests"));
    manifest.tensors.push_back(std::move(record));
  }
  for (const JsonReader& shard : json.at("shards").elements()) manifest.shards.push_back(shard_record(shard));
  manifest.view = file_record(json.at("view"));
  if (manifest.view.name != kViewFileName) refuse("the view has another name");
  check_boxes(manifest);
  return manifest;
}

}  // namespace retain
