#include "launch/config/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/text.h"

namespace retain {
namespace {

using Kind = ConfigNode::Kind;

constexpr const char* kNoAnchors = "anchors (&name) are not supported: share settings through base: [file]";
constexpr const char* kNoAliases = "aliases (*name) are not supported: share settings through base: [file]";
constexpr const char* kNoMerge = "'<<' is not supported: share settings through base: [file]";
constexpr const char* kOneDocument = "holds several YAML documents ('---'); one is expected";

/// A text whose first character stands at `start`, and where yaml-cpp's marks stand in it.
struct Document {
  std::string_view text;
  Origin start;

  /// The line of a mark, which may be null or behind the text, and what follows.
  std::string_view from_line_of(const YAML::Mark& mark) const {
    return text.substr(text.substr(0, static_cast<size_t>(std::max(mark.pos, 0))).rfind('\n') + 1);
  }

  Origin place(const YAML::Mark& mark) const {
    const std::string_view line = from_line_of(mark);  // the end of the text has column 0
    Origin at = start;
    at.line += std::max(mark.line, 0);
    at.column = (line.size() == text.size() ? start.column : 1) +
                count_characters(line.substr(0, static_cast<size_t>(std::max(mark.column, 0))));
    return at;
  }

  /// Whether a tab stands before the first word of the line: the usual reason why it cannot be read.
  bool has_tab_indentation(const YAML::Mark& mark) const {
    const std::string_view line = from_line_of(mark);
    return line.find('\t') < line.find_first_not_of(" \t");
  }
};

/// The tree out of yaml-cpp's events, with the keys and values of a map by turns. Events and not YAML::Node, which
/// knows neither where an alias nor where a second document stands, nor that there is an anchor.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const Document& document, const ReportProblem& report) : document_(document), report_(report) {
    root_.at = document.start;  // of a text without a document
  }

  /// The document, or what was read of it before a syntax error.
  ConfigNode take() {
    while (!open_.empty()) close();
    return std::move(root_);
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (std::exchange(started_, true)) throw YAML::Exception(mark, kOneDocument);
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(make(Kind::kNull, mark, "?", anchor)); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { add(refused(document_.place(mark), kNoAliases)); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    ConfigNode node = make(Kind::kScalar, mark, tag, anchor);
    node.text = value;
    node.quoted = tag == "!";
    add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open_.push_back(make(Kind::kSequence, mark, tag, anchor));
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open_.push_back(make(Kind::kMap, mark, tag, anchor));
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  ConfigNode refused(const Origin& at, const char* why) {
    report_(at, why, "");
    ConfigNode node;
    node.kind = Kind::kRefused;
    node.at = at;
    return node;
  }

  ConfigNode make(Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) return refused(document_.place(mark), kNoAnchors);
    if (!tag.empty() && tag != "?" && tag != "!")
      return refused(document_.place(mark), "tags (!!type) are not supported");
    ConfigNode node;
    node.kind = kind;
    node.at = document_.place(mark);
    return node;
  }

  void close() {
    ConfigNode done = std::move(open_.back());
    open_.pop_back();
    add(std::move(done));
  }

  void add(ConfigNode node) { (open_.empty() ? root_ : open_.back().items.emplace_back()) = std::move(node); }

  const Document& document_;
  const ReportProblem& report_;
  ConfigNode root_;
  std::vector<ConfigNode> open_;  // collections that are being read
  bool started_ = false;
};

/// What is wrong with a map's key, or "".
std::string key_problem(const ConfigNode& key) {
  if (key.kind == Kind::kNull) return "a key is missing before ':'";
  if (key.kind == Kind::kSequence || key.kind == Kind::kMap) return "a key must be a word";
  return key.text == "<<" && !key.quoted ? kNoMerge : "";
}

/// Makes pairs of the keys and values that the maps below `node` hold by turns; refuses the values of wrong keys.
void pair_up(ConfigNode& node, const std::string& path, const ReportProblem& report) {
  std::vector<ConfigNode> raw = std::exchange(node.items, {});
  if (node.kind == Kind::kSequence) {
    for (size_t i = 0; i < raw.size(); ++i) pair_up(raw[i], concat(path, "[", i, "]"), report);
    node.items = std::move(raw);
    return;
  }
  if (node.kind != Kind::kMap) return;
  // A syntax error came before the last value; or in the midst of a list or a map that is no key yet.
  if (raw.size() % 2 == 1 && (raw.back().kind == Kind::kScalar || raw.back().kind == Kind::kNull)) raw.emplace_back();
  std::map<std::string, Origin> seen;
  for (size_t i = 0; i + 1 < raw.size(); i += 2) {
    const ConfigNode& key = raw[i];
    ConfigNode& item = raw[i + 1];
    item.key = key.text;
    item.key_at = key.at;
    if (item.kind == Kind::kNull) item.at = key.at;  // yaml-cpp marks what follows the missing value
    const std::string item_path = path.empty() ? key.text : path + "." + key.text;
    std::string wrong = key_problem(key);
    if (wrong.empty() && key.kind == Kind::kScalar)
      if (const auto [first, fresh] = seen.emplace(key.text, key.at); !fresh)
        wrong =
            concat(in_quotes(item_path), " given twice (first at ", first->second.line, ":", first->second.column, ")");
    if (!wrong.empty()) report(key.at, wrong, "");
    item.key_refused = !wrong.empty() || key.kind == Kind::kRefused;
    pair_up(item, item_path, report);
    if (item.key_refused) item.kind = Kind::kRefused;
    node.items.push_back(std::move(item));
  }
}

/// Reports the first byte that no configuration holds: a control character or broken UTF-8.
bool has_bad_byte(std::string_view text, Origin at, const ReportProblem& report) {
  for (size_t i = 0, length = 0; i < text.size(); i += length) {
    length = utf8_length(text, i);
    // A carriage return alone ends a line for some versions of yaml-cpp and not for others.
    const bool white = text[i] == '\n' || text[i] == '\t' || text.substr(i, 2) == "\r\n";
    if (length == 0 || (is_control(text, i, length) && !white)) {
      const std::string what = length == 0 ? "not UTF-8 text: byte " : "control character ";
      report(at, what + hex_escape(static_cast<unsigned char>(text[i])), "");
      return true;
    }
    at.line += text[i] == '\n' ? 1 : 0;
    at.column = text[i] == '\n' ? 1 : at.column + 1;
  }
  return false;
}

}  // namespace

ConfigNode parse_yaml(std::string_view text, const Origin& start, const ReportProblem& report) {
  ConfigNode refused;
  refused.kind = Kind::kRefused;
  refused.at = start;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (has_bad_byte(text, start, report)) return refused;

  const Document document{text, start};
  TreeBuilder builder(document, report);
  Origin at;
  std::string wrong, hint;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    at = document.place(error.mark);
    wrong = "not YAML: " + escape_controls(error.msg);
    if (error.msg == kOneDocument) wrong = kOneDocument;
    if (error.msg.starts_with(YAML::ErrorMsg::UNKNOWN_ANCHOR)) wrong = kNoAliases;  // a name may follow
    if (document.has_tab_indentation(error.mark)) hint = "indent with blanks, not with tabs";
  }
  ConfigNode root = builder.take();
  pair_up(root, "", report);
  if (wrong.empty()) return root;
  report(at, wrong, hint);
  return refused;
}

}  // namespace retain
