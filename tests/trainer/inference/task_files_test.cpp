#include "trainer/inference/task_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "kernels/core/error.h"
#include "tests/support/tiny_run.h"
#include "trainer/inference/python_text.h"

namespace retain::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Question only(const std::string& line) {
  const std::vector<Question> questions = parse_questions(line, "q.jsonl");
  EXPECT_EQ(questions.size(), 1U);
  return questions.at(0);
}

TEST(TaskFiles, KnowQuestionsByTheirKeys) {
  const Question plain = only(R"({"context": "2 + 2 =", "choices": ["3", "4"], "label": 1, "id": "x"})");
  EXPECT_EQ(plain.context, "2 + 2 =");
  EXPECT_THAT(plain.choices, ElementsAre("3", "4"));
  EXPECT_EQ(plain.label, 1U);

  // As lm-evaluation-harness' hellaswag makes them: notes of WikiHow go, double blanks become one.
  const Question hellaswag =
      only(R"({"ind": 4, "activity_label": "Baking", "ctx_a": "A cook [header] Bake [title] Mix.",)"
           R"( "ctx_b": "the Cook", "ctx": "unused", "endings": ["sings [title] Ends  here.",)"
           R"( "[step] eats.", "c", "d"], "label": "2", "split": "val"})");
  EXPECT_EQ(hellaswag.context, "Baking: A cook Bake. Mix. The cook");
  EXPECT_THAT(hellaswag.choices, ElementsAre("sings. Ends here.", " eats.", "c", "d"));
  EXPECT_EQ(hellaswag.label, 2U);

  const Question piqa = only(R"({"goal": "Open a jar", "sol1": "Turn the lid.", "sol2": "Eat it.", "label": 0})");
  EXPECT_EQ(piqa.context, "Question: Open a jar\nAnswer:");
  EXPECT_THAT(piqa.choices, ElementsAre("Turn the lid.", "Eat it."));

  const char* const arcs[] = {
      R"({"id": "a", "question": {"stem": "Why?", "choices": [{"text": "So.", "label": "A"}, {"text": "Not.", "label": "B"}]}, "answerKey": "B"})",
      R"({"id": "a", "question": "Why?", "choices": {"text": ["So.", "Not."], "label": ["1", "2"]}, "answerKey": "2"})"};
  for (const char* const line : arcs) {
    const Question arc = only(line);
    EXPECT_EQ(arc.context, "Question: Why?\nAnswer:");
    EXPECT_THAT(arc.choices, ElementsAre("So.", "Not."));
    EXPECT_EQ(arc.label, 1U);
  }
}

TEST(TaskFiles, TakeTheLastWordBehindTheLastBlank) {
  const std::vector<LastWord> words =
      parse_last_words("{\"text\": \"He said to his  dog\"}\n\n{\"text\": \"a\\nb c\"}", "w");
  ASSERT_EQ(words.size(), 2U);
  EXPECT_EQ(words[0].context, "He said to his ");
  EXPECT_EQ(words[0].word, "dog");
  EXPECT_EQ(words[1].context, "a\nb");
  EXPECT_EQ(words[1].word, "c");
  EXPECT_THAT(parse_texts("{\"text\": \"\"}\n{\"text\": \"b\", \"id\": 1}\n", "t"), ElementsAre("", "b"));
}

template <class Parse>
std::string complaint(const Parse& parse, const std::string& text) {
  try {
    parse(text, "f.jsonl");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kData);
    return error.what();
  }
  return "";
}

TEST(TaskFiles, NameTheLineThatCannotBeUsed) {
  const std::string good = R"({"context": "c", "choices": ["a", "b"], "label": 0})"
                           "\n\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{\"context\": ", "f.jsonl:3: "},
      {"[1]", "f.jsonl:3: holds no object"},
      {R"({"a": 1})", "f.jsonl:3: is no question that is known by its keys; each line is {\"context\": "},
      {R"({"context": "c", "choices": [], "label": 0})", "f.jsonl:3: choices: found 0 choices, want 2 to 1000"},
      {R"({"context": "c", "choices": ["a"], "label": 0})", "choices: found 1 choices"},
      {R"({"context": "c", "choices": ["a", ""], "label": 0})", "choices: found an empty choice"},
      {R"({"context": "c", "choices": ["a", 2], "label": 0})", "f.jsonl:3: choices[1]: found 2, want a text"},
      {R"({"context": 1, "choices": ["a", "b"], "label": 0})", "f.jsonl:3: context: found 1, want a text"},
      {R"({"context": "c", "choices": ["a", "b"], "label": 2})",
       "f.jsonl:3: label: found 2, want a whole number from 0 to 1"},
      {R"({"context": "c", "choices": ["a", "b"], "label": -1})", "label: found -1"},
      {R"({"context": "c", "choices": ["a", "b"], "label": "x"})", "label: found \"x\""},
      {R"({"context": "c", "choices": ["a", "b"]})", "label: found nothing"},
      {R"({"context": "c", "context": "d", "choices": ["a", "b"], "label": 0})", "key 'context' is there twice"},
      {R"({"goal": "g", "sol1": "a", "sol2": "b"})",
       "label: found nothing, want 0 or 1; paste valid.jsonl valid-labels.lst |"},
      {R"({"question": "q", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"})", "1 labels, want 2"},
      {R"({"question": {"stem": "q", "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]}, "answerKey": "C"})",
       "answerKey: found \"C\", want the label of one of the choices"},
  };
  for (const auto& [line, want] : cases) EXPECT_THAT(complaint(parse_questions, good + line), HasSubstr(want)) << line;
  EXPECT_THAT(complaint(parse_questions, " \n\n"), HasSubstr("f.jsonl: holds no line"));
  EXPECT_THAT(complaint(parse_last_words, "{\"text\": \"one\"}"),
              HasSubstr("f.jsonl:1: text: found \"one\", want a text"));
  EXPECT_THAT(complaint(parse_last_words, "{\"text\": \"one \"}"), HasSubstr("ends with a blank and a word"));
  EXPECT_THAT(complaint(parse_texts, "{\"txt\": \"one\"}"), HasSubstr("f.jsonl:1: text: found nothing, want a text"));
}

TEST(TaskFiles, AreUtf8) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/q.jsonl";
  write_new_file(path, "{\"text\": \"a\"}\n{\"text\": \"caf\xe9\"}\n");
  try {
    read_task_file(path);
    FAIL() << "read";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kData);
    EXPECT_EQ(std::string(error.what()),
              path + ":2: byte 14 (0xe9) is not UTF-8; iconv -f latin1 -t utf-8 converts a file that is Latin-1");
  }
  EXPECT_THROW(read_task_file(directory.path() + "/none"), Error);
}

// What Python 3 says of the same texts.
TEST(PythonText, SplitsAndCountsAsPythonDoes) {
  EXPECT_EQ(without_spaces_around(" \t\xe3\x80\x80 a b \xc2\xa0\n"), "a b");
  EXPECT_EQ(without_spaces_at_end(" \xe2\x80\x8b"), " \xe2\x80\x8b");  // of no width, and no space
  EXPECT_EQ(count_words(""), 1);
  EXPECT_EQ(count_words("a"), 1);
  EXPECT_EQ(count_words(" a  b\n\tc "), 5);
  EXPECT_EQ(count_words("a\xc2\xa0\x1f"
                        "b"),
            2);
  EXPECT_EQ(count_code_points("a\xc3\xa9\xf0\x9f\x98\x80"), 3);
  EXPECT_EQ(capitalized("the Cook"), "The cook");
  EXPECT_EQ(capitalized(""), "");
  EXPECT_EQ(replaced("a  b   c", "  ", " "), "a b  c");
}

}  // namespace
}  // namespace retain::test
