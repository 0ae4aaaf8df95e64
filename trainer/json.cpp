#include "trainer/json.h"

#include <algorithm>

#include "kernels/core/error.h"

namespace retain {

namespace {

using Json = nlohmann::json;

constexpr size_t kMaxDepth = 32;

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorKind::kData, message); }

// A value as messages show it.
std::string shown(const Json* value) {
  if (!value) return "nothing";
  if (value->is_array()) return "a list";
  return value->is_object() ? "an object" : value->dump();
}

// Builds the value from the parser's events. The library's own filter of events goes through all members of a list or
// an object again at the end of each.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  Builder(const std::string& place, int64_t first_byte) : place_(place), first_byte_(first_byte) {}
  Json value;

  bool null() override { return take(nullptr); }
  bool boolean(bool flag) override { return take(flag); }
  bool number_integer(number_integer_t number) override { return take(number); }
  bool number_unsigned(number_unsigned_t number) override { return take(number); }
  bool number_float(number_float_t number, const string_t&) override { return take(number); }
  bool string(string_t& text) override { return take(std::move(text)); }
  bool binary(binary_t& bytes) override { return take(std::move(bytes)); }
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& text) override {
    key_ = std::move(text);
    if (!open_.back()->contains(key_)) return true;
    const std::string inside = path();
    fail(concat(place_, "key '", key_, "' is there twice",
                inside.empty() ? "" : concat(" in one object (", inside, ")")));
  }

  bool parse_error(size_t position, const std::string&, const Json::exception& e) override {
    const int64_t byte = first_byte_ + static_cast<int64_t>(position);
    fail(concat(place_, first_byte_ > 0 ? concat("byte ", byte, ": ") : "", e.what()));
  }

 private:
  bool take(Json next) {
    put(std::move(next));
    return true;
  }
  bool open(Json next) {
    Json* inner = put(std::move(next));
    keys_.push_back(std::exchange(key_, {}));
    if (open_.size() == kMaxDepth) {
      fail(concat(place_, path(), ": found ", shown(inner), " that nests deeper than ", kMaxDepth));
    }
    open_.push_back(inner);
    return true;
  }
  bool close() {
    open_.pop_back();
    keys_.pop_back();
    key_.clear();
    return true;
  }

  // Where the next value belongs.
  Json* put(Json next) {
    if (open_.empty()) return &(value = std::move(next));
    Json& inside = *open_.back();
    if (inside.is_object()) return &(inside[key_] = std::move(next));
    inside.push_back(std::move(next));
    return &inside.back();
  }

  // The keys that lead to what is open.
  std::string path() const {
    std::string path;
    for (const std::string& key : keys_) path += (path.empty() || key.empty() ? "" : ".") + key;
    return path;
  }

  const std::string& place_;
  int64_t first_byte_;
  std::string key_;                // of the next value, if it belongs to an object
  std::vector<Json*> open_;        // objects and lists that have not ended
  std::vector<std::string> keys_;  // of these
};

}  // namespace

Json parse_strict_json(std::string_view text, const std::string& place, int64_t first_byte) {
  Builder builder(place, first_byte);
  Json::sax_parse(text, &builder);
  return std::move(builder.value);
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
