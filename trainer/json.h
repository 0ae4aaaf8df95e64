// JSON that others wrote, read strictly: no key stands twice in an object, nothing nests deeper than 32 levels, and a
// value is asked for by its type and range. What is refused is an Error(kData) that names the place: "config.json:
// hidden_size: found "8", want a whole number".
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace retain {

/// The value of a whole text. Messages begin with `place` ("config.json: ", or nothing). Of a text that begins inside a
/// file, at `first_byte`, they name the byte of the file besides.
nlohmann::json parse_strict_json(std::string_view text, const std::string& place, int64_t first_byte = 0);

/// A value, or one that is absent, and where it is. The value outlives it. Everything throws Error(kData).
class JsonReader {
 public:
  JsonReader(const nlohmann::json& value, std::string place) : value_(&value), place_(std::move(place)) {}

  [[noreturn]] void refuse(const std::string& found, const std::string& want) const;
  /// "PLACE: found 3, want WANT", or "found nothing".
  [[noreturn]] void refuse(const std::string& want) const;

  bool exists() const { return value_ != nullptr; }
  const nlohmann::json& json() const { return *value_; }  ///< of a value that exists

  /// The member of an object, which may be absent.
  JsonReader at(const std::string& key) const;
  /// All members of an object, in the order of their keys, or all elements of a list.
  std::vector<std::pair<std::string, JsonReader>> members() const;
  std::vector<JsonReader> elements() const;
  /// Refuses every key of an object that is none of these.
  void check_keys(std::initializer_list<const char*> legal) const;

  std::string text() const;
  bool flag() const;
  double number() const;
  int64_t whole_number(int64_t least, int64_t most) const;
  /// A list of `fewest` to `most` whole numbers in [0, largest].
  std::vector<int64_t> whole_numbers(size_t fewest, size_t most, int64_t largest) const;
  std::map<std::string, std::string> texts() const;  ///< an object of texts

 private:
  JsonReader(const nlohmann::json* value, std::string place) : value_(value), place_(std::move(place)) {}

  const nlohmann::json* value_;
  std::string place_;
};

}  // namespace retain
