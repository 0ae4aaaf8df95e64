#include "trainer/data/prepare_state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "kernels/core/error.h"

namespace retain {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kLargestState = 1 << 20;
constexpr int kSchema = 1;

/// Of the inputs that are done and the one that is being read: their names, sizes and times.
uint64_t hash_of(std::span<const InputFile> inputs, const InputPlace& place) {
  const auto touched = static_cast<size_t>(place.inputs + (place.pieces > 0 ? 1 : 0));
  uint64_t hash = 0;
  for (const InputFile& input : inputs.first(std::min(touched, inputs.size()))) {
    const std::string what = concat(input.path, "\n", input.bytes, "\n", input.written_ns, "\n", input.json_lines);
    hash = XXH3_64bits_withSeed(what.data(), what.size(), hash);
  }
  return hash;
}

ordered_json to_json(const LeftOut& left_out) { return {{"count", left_out.count}, {"first", left_out.first}}; }

LeftOut left_out_of(const ordered_json& json) {
  return {.count = json.at("count").get<int64_t>(), .first = json.at("first").get<std::vector<std::string>>()};
}

}  // namespace

PrepareFolder::PrepareFolder(const std::string& prefix, uint64_t rules) : path_(prefix + ".part"), rules_(rules) {
  std::error_code error;
  const std::string lock = file("lock");
  if (std::filesystem::exists(path_, error) && !std::filesystem::exists(lock, error) &&
      !(std::filesystem::is_directory(path_, error) && std::filesystem::is_empty(path_, error)))
    throw Error(ErrorKind::kCannotCreate,
                concat(path_, ": is not of an interrupted preparation; move it, or choose another --out"));
  std::filesystem::create_directories(path_, error);
  if (error) throw Error(ErrorKind::kCannotCreate, concat(path_, ": cannot create: ", error.message()));
  const int descriptor = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) throw_errno(ErrorKind::kCannotCreate, "create", lock, errno);
  lock_ = File(descriptor, lock);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    const int why = errno;
    if (why == EWOULDBLOCK) throw Error(ErrorKind::kCannotCreate, concat(path_, ": another process prepares this set"));
    // File systems without locks: there the user alone sees to it.
    if (why != ENOSYS && why != ENOTSUP && why != ENOLCK) throw_errno(ErrorKind::kCannotCreate, "lock", lock, why);
  }
  kept_ = std::filesystem::exists(file("state.json"), error);
}

PrepareFolder::~PrepareFolder() {
  if (!kept_) remove();
}

void PrepareFolder::forget() {
  std::filesystem::remove(file("state.json"));
  kept_ = false;
}

void PrepareFolder::remove() {
  lock_ = File();  // NFS keeps the name of a file that is open
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  kept_ = true;  // there is nothing left that this object would remove
}

void PrepareFolder::keep(const PrepareState& state, std::span<const InputFile> inputs) {
  const ordered_json json = {{"schema", kSchema},
                             {"rules", rules_},
                             {"inputs", hash_of(inputs, state.place)},
                             {"inputs_done", state.place.inputs},
                             {"pieces_done", state.place.pieces},
                             {"text_hash", state.place.text_hash},
                             {"tokens", state.tokens.tokens},
                             {"sequences", state.tokens.sequences},
                             {"open_tokens", state.tokens.open_tokens},
                             {"text_bytes", state.text_bytes},
                             {"document_bytes", state.document_bytes},
                             {"empty_documents", to_json(state.empty_documents)},
                             {"bad_lines", to_json(state.bad_lines)}};
  replace_file(file("state.json"), json.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  kept_ = true;
}

std::optional<PrepareState> PrepareFolder::read(std::span<const InputFile> inputs,
                                                const std::function<void(const std::string&)>& say) {
  std::string why_not;
  std::optional<PrepareState> state = read_kept(inputs, why_not);
  if (!why_not.empty()) {
    say(concat(path_, " ", why_not, ": begins anew"));
    forget();
  }
  return state;
}

std::optional<PrepareState> PrepareFolder::read_kept(std::span<const InputFile> inputs, std::string& why_not) {
  const std::string path = file("state.json");
  std::error_code unreadable;
  if (!std::filesystem::exists(path, unreadable)) return std::nullopt;
  try {
    const ordered_json json = ordered_json::parse(read_text(File::open(path), kLargestState));
    if (json.at("schema") != kSchema) throw Error(ErrorKind::kData, "another release's");
    PrepareState state;
    state.place = {.inputs = json.at("inputs_done").get<int64_t>(),
                   .pieces = json.at("pieces_done").get<int64_t>(),
                   .text_hash = json.at("text_hash").get<uint64_t>()};
    state.tokens = {.tokens = json.at("tokens").get<int64_t>(),
                    .sequences = json.at("sequences").get<int64_t>(),
                    .open_tokens = json.at("open_tokens").get<int64_t>()};
    state.text_bytes = json.at("text_bytes").get<int64_t>();
    state.document_bytes = json.at("document_bytes").get<int64_t>();
    state.empty_documents = left_out_of(json.at("empty_documents"));
    state.bad_lines = left_out_of(json.at("bad_lines"));
    if (json.at("rules") != rules_) {
      why_not = "was made with another tokenizer, encoding or key";
    } else if (state.place.inputs > std::ssize(inputs) || json.at("inputs") != hash_of(inputs, state.place)) {
      why_not = "was made of other inputs, or they were written since";
    } else if (std::ranges::any_of(inputs.first(static_cast<size_t>(state.place.inputs)), &InputFile::is_stream)) {
      why_not = "was made of standard input, which may be another one now";
    } else {
      return state;
    }
  } catch (const std::exception&) {
    why_not = "cannot be read";
  }
  return std::nullopt;
}

}  // namespace retain
