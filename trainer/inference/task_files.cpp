#include "trainer/inference/task_files.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "trainer/file.h"
#include "trainer/inference/python_text.h"
#include "trainer/json.h"

namespace retain {

namespace {

constexpr int64_t kMostBytes = int64_t{1} << 30;
constexpr size_t kMostChoices = 1000;

/// Calls `visit` with every line that is not blank, and "NAME:LINE: ".
void for_each_line(std::string_view text, const std::string& name,
                   const std::function<void(std::string_view line, const std::string& place)>& visit) {
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) visit(line, concat(name, ":", number, ": "));
  }
}

void check_utf8(std::string_view text, const std::string& name) {
  for_each_line(text, name, [](std::string_view line, const std::string& place) {
    for (size_t i = 0; i < line.size();) {
      const size_t length = utf8_length(line, i);
      if (length == 0) {
        throw Error(ErrorKind::kData,
                    concat(place, "byte ", i + 1, " (0x", hex_escape(static_cast<unsigned char>(line[i])).substr(2),
                           ") is not UTF-8; iconv -f latin1 -t utf-8 converts a file that is Latin-1"));
      }
      i += length;
    }
  });
}

template <class Item>
std::vector<Item> parse_lines(const std::string& text, const std::string& name,
                              const std::function<Item(const JsonReader& line, const std::string& place)>& parse) {
  std::vector<Item> items;
  for_each_line(text, name, [&](std::string_view line, const std::string& place) {
    const nlohmann::json json = parse_strict_json(line, place);
    if (!json.is_object()) throw Error(ErrorKind::kData, concat(place, "holds no object; each line is one: {…}"));
    items.push_back(parse(JsonReader(json, place), place));
  });
  if (items.empty()) throw Error(ErrorKind::kData, concat(name, ": holds no line; each line is one JSON object: {…}"));
  return items;
}

/// A number, or its digits in quotes, below `count`.
size_t read_label(const JsonReader& label, size_t count) {
  const std::string want = concat("a whole number from 0 to ", count - 1, ", the place of the right choice");
  if (!label.exists()) label.refuse(want);
  const nlohmann::json& json = label.json();
  const std::string digits = json.is_string() ? json.get<std::string>() : json.is_number_integer() ? json.dump() : "";
  const bool whole =
      !digits.empty() && digits.size() < 6 && digits.find_first_not_of("0123456789") == std::string::npos;
  if (!whole || std::stoul(digits) >= count) label.refuse(want);
  return std::stoul(digits);
}

std::vector<std::string> read_texts(const JsonReader& list) {
  std::vector<std::string> texts;
  for (const JsonReader& element : list.elements()) texts.push_back(element.text());
  return texts;
}

Question checked(Question question, const JsonReader& choices) {
  const size_t count = question.choices.size();
  if (count < 2 || count > kMostChoices) choices.refuse(concat(count, " choices"), concat("2 to ", kMostChoices));
  if (std::ranges::any_of(question.choices, [](const std::string& c) { return c.empty(); }))
    choices.refuse("an empty choice", "choices that have a text");
  return question;
}

Question parse_plain(const JsonReader& line) {
  const JsonReader choices = line.at("choices");
  Question question = checked({.context = line.at("context").text(), .choices = read_texts(choices)}, choices);
  question.label = read_label(line.at("label"), question.choices.size());
  return question;
}

/// The notes of WikiHow's pages: " [title]" ends a sentence, others in brackets go.
std::string without_notes(std::string_view text) {
  std::string rest = replaced(without_spaces_around(text), " [title]", ". "), result;
  for (std::string_view left = rest; !left.empty();) {
    const size_t open = left.find('['), close = left.find(']', std::min(open, left.size()));
    const bool note =
        close != std::string_view::npos && left.substr(open, close - open).find('\n') == std::string_view::npos;
    const size_t kept = note ? open : open == std::string_view::npos ? left.size() : open + 1;
    result += left.substr(0, kept);
    left.remove_prefix(note ? close + 1 : kept);
  }
  return replaced(result, "  ", " ");
}

Question parse_hellaswag(const JsonReader& line) {
  const std::string context = line.at("ctx_a").text() + " " + capitalized(line.at("ctx_b").text());
  Question question{.context = without_notes(line.at("activity_label").text() + ": " + context)};
  const JsonReader endings = line.at("endings");
  for (const std::string& ending : read_texts(endings)) question.choices.push_back(without_notes(ending));
  question = checked(std::move(question), endings);
  question.label = read_label(line.at("label"), question.choices.size());
  return question;
}

Question parse_piqa(const JsonReader& line) {
  Question question{.context = "Question: " + line.at("goal").text() + "\nAnswer:",
                    .choices = {line.at("sol1").text(), line.at("sol2").text()}};
  question = checked(std::move(question), line.at("sol1"));
  // Its makers publish the labels in a file of their own.
  if (!line.json().contains("label")) {
    line.at("label").refuse("nothing",
                            "0 or 1; paste valid.jsonl valid-labels.lst | sed -E "
                            "'s/\\}\\t([01])$/, \"label\": \\1}/' puts them there");
  }
  question.label = read_label(line.at("label"), 2);
  return question;
}

Question parse_arc(const JsonReader& line) {
  const JsonReader asked = line.at("question");
  const bool nested = asked.json().is_object();
  const JsonReader choices = nested ? asked.at("choices") : line.at("choices");
  Question question{.context = "Question: " + (nested ? asked.at("stem") : asked).text() + "\nAnswer:"};
  std::vector<std::string> names;
  if (nested) {
    for (const JsonReader& choice : choices.elements()) {
      question.choices.push_back(choice.at("text").text());
      names.push_back(choice.at("label").text());
    }
  } else {
    question.choices = read_texts(choices.at("text"));
    names = read_texts(choices.at("label"));
    if (names.size() != question.choices.size())
      choices.refuse(concat(names.size(), " labels"), concat(question.choices.size(), ", one for each text"));
  }
  question = checked(std::move(question), choices);
  const JsonReader key = line.at("answerKey");
  const auto right = std::ranges::find(names, key.text());
  if (right == names.end()) key.refuse("the label of one of the choices");
  question.label = static_cast<size_t>(right - names.begin());
  return question;
}

Question parse_question(const JsonReader& line, const std::string& place) {
  const auto has = [&](const char* key) { return line.json().contains(key); };
  if (has("context")) return parse_plain(line);
  if (has("endings")) return parse_hellaswag(line);
  if (has("goal")) return parse_piqa(line);
  if (has("question")) return parse_arc(line);
  throw Error(ErrorKind::kData, concat(place,
                                       "is no question that is known by its keys; each line is {\"context\": "
                                       "\"…\", \"choices\": [\"…\", \"…\"], \"label\": 0}, or one of "
                                       "HellaSwag's, PIQA's or ARC's"));
}

}  // namespace

std::string read_task_file(const std::string& path) {
  std::string text = read_text(File::open_given(path), kMostBytes);
  check_utf8(text, path);
  return text;
}

std::vector<Question> parse_questions(const std::string& text, const std::string& name) {
  return parse_lines<Question>(text, name, parse_question);
}

std::vector<std::string> parse_texts(const std::string& text, const std::string& name) {
  return parse_lines<std::string>(text, name,
                                  [](const JsonReader& line, const std::string&) { return line.at("text").text(); });
}

std::vector<LastWord> parse_last_words(const std::string& text, const std::string& name) {
  return parse_lines<LastWord>(text, name, [](const JsonReader& line, const std::string&) {
    const JsonReader whole = line.at("text");
    const std::string all = whole.text();
    const size_t blank = all.rfind(' ');
    if (blank == std::string::npos || blank + 1 == all.size()) whole.refuse("a text that ends with a blank and a word");
    return LastWord{.context = all.substr(0, blank), .word = all.substr(blank + 1)};
  });
}

}  // namespace retain
