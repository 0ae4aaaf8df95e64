#include "trainer/data/text_inputs.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "kernels/core/text.h"
#include "trainer/data/text_reader.h"

namespace retain {
namespace {

constexpr const char* kSkipsBad = "--skip-bad N leaves up to N such lines out";

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

/// Calls visit(line) for each line, the last one also where no newline ends it.
template <class Visit>
void for_each_line(std::string_view text, const Visit& visit) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    visit(text.substr(begin, end - begin));
    begin = end + 1;
  }
}

/// Why the text of a line is no JSON.
std::string complaint(const nlohmann::json::parse_error& error) {
  const std::string_view what = error.what();
  return concat("byte ", error.byte,
                what.find("surrogate U+") != std::string_view::npos
                    ? ": half of a surrogate pair (\\ud800 to \\udfff) is no character"
                    : ": not valid JSON; each line must be one whole object");
}

/// The text in a line of JSONL; the line is number `number` of the file `name`.
std::string text_of_line(std::string_view line, const std::string& text_key, const std::string& name, int64_t number) {
  const auto refuse = [&](const auto&... why) {
    return Error(ErrorKind::kData, concat(name, ":", number, ": ", why...));
  };
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(line);
  } catch (const nlohmann::json::parse_error& error) {
    throw refuse(complaint(error));
  } catch (const nlohmann::json::out_of_range&) {
    throw refuse("holds a number that is out of range");
  }
  if (!object.is_object()) throw refuse("holds no object but ", object.type_name());
  const auto text = object.find(text_key);
  if (text == object.end()) {
    constexpr size_t kNamedKeys = 8;
    std::string keys;
    size_t named = 0;
    for (const auto& [key, value] : object.items()) {
      if (named++ < kNamedKeys) keys += (keys.empty() ? "" : ", ") + in_quotes(key);
    }
    if (keys.empty()) throw refuse("the object is empty");
    throw refuse("has no ", in_quotes(text_key), " but ", keys, named > kNamedKeys ? ", ..." : "",
                 " (--text-key names the one to take)");
  }
  if (!text->is_string()) throw refuse(in_quotes(text_key), " is ", text->type_name(), ", want a string");
  return std::move(text->get_ref<std::string&>());
}

}  // namespace

std::string name_of(const InputFile& input) { return input.is_stream() ? "standard input" : input.path; }

void read_input(const InputFile& input, const std::function<void(std::istream& stream)>& read) {
  if (input.unusable) throw Error(*input.unusable);
  if (input.is_stream()) return read(std::cin);
  std::ifstream file(input.path, std::ios::binary);
  if (!file) throw Error(ErrorKind::kIo, concat(input.path, ": cannot open"));
  read(file);
}

std::optional<Error> why_no_text(const InputFile& input, const std::string& encoding) {
  try {
    read_input(input, [&](std::istream& stream) {
      TextReader reader(stream, name_of(input), encoding);
      std::string text;
      while (reader.read(text)) text.clear();
    });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kData) throw;
    return error;
  }
  return std::nullopt;
}

void JsonLines::for_each(const std::string& text_key,
                         const std::function<void(int64_t number, const std::string& text)>& take,
                         const std::function<void(const Error&)>& refuse) const {
  int64_t number = first;
  for_each_line(text, [&](std::string_view line) {
    const int64_t at = number++;
    if (is_blank(line)) return;
    if (const auto bad = not_utf8.find(at); bad != not_utf8.end()) return refuse(bad->second);
    std::string found;
    try {
      found = text_of_line(line, text_key, name, at);
    } catch (const Error& error) {
      return refuse(error);
    }
    take(at, found);
  });
}

void for_each_lines(std::istream& stream, const std::string& name, const std::string& encoding,
                    const std::function<void(JsonLines)>& take) {
  if (encoding == "bytes")
    throw Error(ErrorKind::kUsage,
                concat(name, ": is JSONL, whose text has an encoding; --encoding bytes is for plain text"));
  TextReader reader(stream, name, encoding, Utf8Check::kLater);  // a line at a time
  Utf8Checker utf8(name, kSkipsBad, kSkipsBad);
  int64_t number = 1;
  const auto give = [&](std::string text) {
    JsonLines lines{.name = name, .first = number, .text = std::move(text)};
    for_each_line(lines.text, [&](std::string_view line) {
      const int64_t at = number++;
      if (is_blank(line)) return;
      try {
        utf8.check(line, at, 0);
      } catch (const Error& error) {
        lines.not_utf8.emplace(at, error);
      }
    });
    take(std::move(lines));
  };
  std::string text;
  size_t searched = 0;  // bytes without a newline
  while (reader.read(text)) {
    const size_t newline = text.rfind('\n');
    if (newline == std::string::npos || newline < searched) {
      searched = text.size();
      continue;
    }
    std::string rest = text.substr(newline + 1);
    text.resize(newline + 1);
    give(std::exchange(text, std::move(rest)));
    searched = text.size();
  }
  if (!text.empty()) give(std::move(text));
}

}  // namespace retain
