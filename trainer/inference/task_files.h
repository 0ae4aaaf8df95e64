// Files of tasks in JSONL, as their makers publish them: questions with choices, and texts. Every line is refused with
// file, line, what is wrong with it and what it should be: Error(kData).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace retain {

/// A question whose answer is one of several continuations.
struct Question {
  std::string context;
  std::vector<std::string> choices = {};  ///< at least two, none empty; a blank stands before each
  size_t label = 0;                       ///< the right one
};

/// The text of a task's file. Throws Error(kMissingInput), Error(kIo), and Error(kData) where it is not UTF-8, with the
/// line.
std::string read_task_file(const std::string& path);

/// The questions of a file, each line by its keys:
///   {"context", "choices", "label"}: as they are
///   HellaSwag (Zellers et al. 2019): {"activity_label", "ctx_a", "ctx_b", "endings", "label"}
///   PIQA (Bisk et al. 2020): {"goal", "sol1", "sol2", "label"}
///   ARC (Clark et al. 2018): {"question": {"stem", "choices": [{"text", "label"}…]}, "answerKey"}, or as Hugging Face
///   has it, {"question", "choices": {"text": […], "label": […]}, "answerKey"}
/// The contexts of the last three are those of lm-evaluation-harness' tasks hellaswag, piqa and arc_easy. `name` is
/// what messages call the file.
std::vector<Question> parse_questions(const std::string& text, const std::string& name);

/// The "text" of every line. Empty ones are refused where they are not wanted.
std::vector<std::string> parse_texts(const std::string& text, const std::string& name);

/// A text in front of its last word, and that word, with the blank between them gone (LAMBADA, Paperno et al. 2016).
struct LastWord {
  std::string context, word;
};
std::vector<LastWord> parse_last_words(const std::string& text, const std::string& name);

}  // namespace retain
