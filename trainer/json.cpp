#include "trainer/json.h"

#include <algorithm>
#include <set>

#include "kernels/core/error.h"

namespace retain {

namespace {

using Json = nlohmann::json;

constexpr size_t kMaxDepth = 32;

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorKind::kData, message); }

// An object or a list that is being parsed.
struct Level {
  std::set<std::string> keys;
  std::string key;
};

std::string place_of(const std::vector<Level>& levels) {
  std::string place;
  for (const Level& level : levels) place += (place.empty() || level.key.empty() ? "" : ".") + level.key;
  return place;
}

// A value as messages show it.
std::string shown(const Json* value) {
  if (!value) return "nothing";
  if (value->is_array()) return "a list";
  return value->is_object() ? "an object" : value->dump();
}

}  // namespace

Json parse_strict_json(std::string_view text, const std::string& place, int64_t first_byte) {
  using Event = Json::parse_event_t;
  std::vector<Level> levels;
  const auto watch = [&](int, Event event, Json& value) {
    if (event == Event::object_start || event == Event::array_start) {
      if (levels.size() == kMaxDepth) {
        fail(concat(place, place_of(levels), ": found ", event == Event::array_start ? "a list" : "an object",
                    " that nests deeper than ", kMaxDepth));
      }
      levels.emplace_back();
    } else if (event == Event::object_end || event == Event::array_end) {
      levels.pop_back();
    } else if (event == Event::key) {
      levels.back().key.clear();
      const std::string inside = place_of(levels), key = value.get<std::string>();
      if (!levels.back().keys.insert(key).second) {
        fail(concat(place, "key '", key, "' is there twice", inside.empty() ? "" : " in " + inside));
      }
      levels.back().key = key;
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::parse_error& e) {  // another library's exception becomes ours
    fail(concat(place, "byte ", first_byte + static_cast<int64_t>(e.byte), ": ", e.what()));
  }
}

void JsonReader::refuse(const std::string& found, const std::string& want) const {
  fail(concat(place_, place_.empty() || place_.ends_with(' ') ? "" : ": ", "found ", found, ", want ", want));
}

void JsonReader::refuse(const std::string& want) const { refuse(shown(value_), want); }

JsonReader JsonReader::at(const std::string& key) const {
  if (!value_ || !value_->is_object()) refuse("an object");
  const auto found = value_->find(key);
  const char* dot = place_.empty() || place_.ends_with(' ') ? "" : ".";
  return {found == value_->end() ? nullptr : &*found, concat(place_, dot, key)};
}

std::vector<std::pair<std::string, JsonReader>> JsonReader::members() const {
  if (!value_ || !value_->is_object()) refuse("an object");
  std::vector<std::pair<std::string, JsonReader>> members;
  for (const auto& [key, value] : value_->items()) members.emplace_back(key, at(key));
  return members;
}

std::vector<JsonReader> JsonReader::elements() const {
  if (!value_ || !value_->is_array()) refuse("a list");
  std::vector<JsonReader> elements;
  for (const Json& value : *value_) elements.emplace_back(value, concat(place_, "[", elements.size(), "]"));
  return elements;
}

void JsonReader::check_keys(std::initializer_list<const char*> legal) const {
  for (const auto& [key, value] : members()) {
    if (std::find(legal.begin(), legal.end(), key) != legal.end()) continue;
    std::string list;
    for (const char* name : legal) list += (list.empty() ? "" : ", ") + std::string(name);
    fail(concat(place_, place_.ends_with(' ') ? "" : ": ", "unknown key '", key, "' (legal: ", list, ")"));
  }
}

std::string JsonReader::text() const {
  if (!value_ || !value_->is_string()) refuse("a text");
  return value_->get<std::string>();
}

bool JsonReader::flag() const {
  if (!value_ || !value_->is_boolean()) refuse("true or false");
  return value_->get<bool>();
}

double JsonReader::number() const {
  if (!value_ || !value_->is_number()) refuse("a number");
  return value_->get<double>();
}

int64_t JsonReader::whole_number(int64_t least, int64_t most) const {
  if (!value_ || !value_->is_number_integer()) refuse("a whole number");
  const bool above_all = value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(most);
  if (above_all || value_->get<int64_t>() > most) refuse(concat("at most ", most));
  if (value_->get<int64_t>() < least) refuse(concat("at least ", least));
  return value_->get<int64_t>();
}

std::vector<int64_t> JsonReader::whole_numbers(size_t fewest, size_t most, int64_t largest) const {
  constexpr const char* kWant = "a list of whole numbers from 0 on";
  if (!value_ || !value_->is_array()) refuse(kWant);
  if (value_->size() > most) refuse(concat("more than ", most, " numbers"), kWant);
  if (value_->size() < fewest) refuse(concat(value_->size(), " numbers"), concat("at least ", fewest));
  std::vector<int64_t> numbers;
  for (const Json& value : *value_) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(largest)) {
      refuse(shown(&value), kWant);
    }
    numbers.push_back(value.get<int64_t>());
  }
  return numbers;
}

std::map<std::string, std::string> JsonReader::texts() const {
  std::map<std::string, std::string> texts;
  for (const auto& [key, value] : members()) texts.emplace(key, value.text());
  return texts;
}

}  // namespace retain
