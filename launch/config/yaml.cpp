#include "launch/config/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <istream>
#include <map>
#include <streambuf>

#include "kernels/core/error.h"
#include "kernels/core/text.h"

namespace retain {
namespace {

constexpr const char* kNoAliases = "aliases (*name) are not supported: share settings through base: [file]";

/// Reads from memory without a copy of it.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // streambuf wants char*, but a get area is only read
    setg(begin, begin, begin + text.size());
  }
};

/// Builds the tree out of yaml-cpp's events.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, const Origin& start, std::vector<ReadProblem>& problems)
      : text_(text), start_(start), problems_(problems) {
    for (size_t i = 0; i < text.size(); ++i)
      if (text[i] == '\n') line_begins_.push_back(i + 1);
  }

  ConfigNode take() { return std::move(root_); }

  Origin origin(const YAML::Mark& mark) const {
    const size_t line = mark.is_null() ? 0 : std::min<size_t>(mark.line, line_begins_.size() - 1);
    const size_t begin = line_begins_[line];
    const std::string_view before = text_.substr(begin, mark.is_null() ? 0 : std::max(mark.column, 0));
    Origin at = start_;
    at.line += static_cast<int>(line);
    at.column = (line == 0 ? start_.column : 1) + count_characters(before);
    return at;
  }

  /// Where the document starts.
  const Origin& start() const { return document_; }

  void OnDocumentStart(const YAML::Mark& mark) override { document_ = origin(mark); }
  void OnDocumentEnd() override {}

  /// Whether a tab stands before the first word of the line there: the usual reason why it cannot be read.
  bool has_tab_indentation(const Origin& at) const {
    const std::string_view line = text_.substr(line_begins_[static_cast<size_t>(at.line - start_.line)]);
    return line.substr(0, line.find_first_not_of(" \t")).find('\t') != std::string_view::npos;
  }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    ConfigNode node;
    node.at = origin(mark);
    refuse_anchor(node, anchor);
    if (expects_value()) node.at = open_.back().key.at;  // yaml-cpp marks what follows the missing value
    add(std::move(node));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    ConfigNode node;
    node.at = origin(mark);
    refuse(node, kNoAliases);
    add(std::move(node));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    ConfigNode node = make(mark, tag, anchor, ConfigNode::Kind::kScalar);
    node.text = value;
    node.quoted = tag == "!";
    add(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(make(mark, tag, anchor, ConfigNode::Kind::kSequence));
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(make(mark, tag, anchor, ConfigNode::Kind::kMap));
  }
  void OnMapEnd() override { close(); }

 private:
  /// A collection that is being read. `key` waits for its value when has_key.
  struct Open {
    ConfigNode node;
    ConfigNode::Key key;
    bool has_key = false, key_refused = false, refused = false;
    std::string path;                    ///< of the collection, "" at the root
    std::map<std::string, Origin> seen;  ///< keys of a map
  };

  ConfigNode make(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, ConfigNode::Kind kind) {
    ConfigNode node;
    node.kind = kind;
    node.at = origin(mark);
    refuse_anchor(node, anchor);
    if (!tag.empty() && tag != "?" && tag != "!") refuse(node, "tags (!!type) are not supported");
    return node;
  }

  void refuse_anchor(ConfigNode& node, YAML::anchor_t anchor) {
    if (anchor != 0) refuse(node, "anchors (&name) are not supported: share settings through base: [file]");
  }

  void refuse(ConfigNode& node, std::string message) {
    problems_.push_back({node.at, path_of_next(), std::move(message), ""});
    node.kind = ConfigNode::Kind::kRefused;
  }

  bool expects_value() const {
    return !open_.empty() && open_.back().node.kind == ConfigNode::Kind::kMap && open_.back().has_key;
  }

  /// The dotted path of the node that comes next.
  std::string path_of_next() const {
    if (open_.empty()) return "";
    const Open& parent = open_.back();
    if (parent.node.kind == ConfigNode::Kind::kSequence) return concat(parent.path, "[", parent.node.items.size(), "]");
    if (!parent.has_key) return parent.path;
    return parent.path.empty() ? parent.key.name : parent.path + "." + parent.key.name;
  }

  void open(ConfigNode node) {
    Open collection;
    collection.path = path_of_next();
    collection.refused = node.kind == ConfigNode::Kind::kRefused;
    if (collection.refused) node.kind = ConfigNode::Kind::kSequence;  // so that what is inside finds a place
    collection.node = std::move(node);
    open_.push_back(std::move(collection));
  }

  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    if (done.refused) done.node.kind = ConfigNode::Kind::kRefused;
    add(std::move(done.node));
  }

  void add(ConfigNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == ConfigNode::Kind::kSequence) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.has_key) {
      add_key(parent, node);
    } else {
      if (!parent.key_refused) {
        parent.node.keys.push_back(std::move(parent.key));
        parent.node.items.push_back(std::move(node));
      }
      parent.has_key = false;
    }
  }

  void add_key(Open& parent, const ConfigNode& node) {
    std::string wrong;
    if (node.kind == ConfigNode::Kind::kNull)
      wrong = "a key is missing before ':'";
    else if (node.kind == ConfigNode::Kind::kScalar && node.text == "<<" && !node.quoted)
      wrong = "'<<' is not supported: share settings through base: [file]";
    else if (node.kind == ConfigNode::Kind::kSequence || node.kind == ConfigNode::Kind::kMap)
      wrong = "a key must be a word";
    if (!wrong.empty()) problems_.push_back({node.at, parent.path, wrong, ""});
    parent.key = {node.text, node.at};
    parent.has_key = true;
    parent.key_refused = !wrong.empty() || node.kind == ConfigNode::Kind::kRefused;
    if (parent.key_refused) return;
    const auto [first, fresh] = parent.seen.emplace(node.text, node.at);
    if (fresh) return;
    const std::string path = path_of_next();
    problems_.push_back(
        {node.at, path,
         concat(in_quotes(path), " given twice (first at ", first->second.line, ":", first->second.column, ")"), ""});
    parent.key_refused = true;
  }

  std::string_view text_;
  Origin start_, document_;
  std::vector<ReadProblem>& problems_;
  std::vector<size_t> line_begins_ = {0};
  std::vector<Open> open_;
  ConfigNode root_;
};

/// The first byte that no configuration holds: a control character or broken UTF-8. Returns whether there is one.
bool find_bad_byte(std::string_view text, const Origin& start, std::vector<ReadProblem>& problems) {
  Origin at = start;
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    const char c = text[i];
    // A carriage return alone ends a line for some versions of yaml-cpp and not for others.
    const bool line_end = c == '\n' || (c == '\r' && text.substr(i + 1).starts_with('\n'));
    const bool allowed = length > 0 && (line_end || c == '\t' || !is_control(text, i, length));
    if (!allowed) {
      const std::string byte = hex_escape(static_cast<unsigned char>(c));
      problems.push_back(
          {at, "", length == 0 ? concat("not UTF-8 text: byte ", byte) : concat("control character ", byte), ""});
      return true;
    }
    if (c == '\n') {
      ++at.line;
      at.column = 1;
    } else {
      ++at.column;
    }
    i += length;
  }
  return false;
}

}  // namespace

ConfigNode parse_yaml(std::string_view text, const Origin& start, std::vector<ReadProblem>& problems) {
  ConfigNode refused;
  refused.kind = ConfigNode::Kind::kRefused;
  refused.at = start;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (find_bad_byte(text, start, problems)) return refused;

  TreeBuilder builder(text, start, problems);
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) {
      ConfigNode empty;
      empty.at = start;
      return empty;
    }
    TreeBuilder second(text, start, problems);
    const size_t known = problems.size();
    if (parser.HandleNextDocument(second)) {
      problems.resize(known);
      problems.push_back({second.start(), "", "holds several YAML documents ('---'); one is expected", ""});
      return refused;
    }
  } catch (const YAML::Exception& error) {
    const Origin at = builder.origin(error.mark);
    // Some versions add the name that is missing.
    const bool alias = error.msg.starts_with(YAML::ErrorMsg::UNKNOWN_ANCHOR);
    problems.push_back({at, "", alias ? kNoAliases : "not YAML: " + escape_controls(error.msg),
                        builder.has_tab_indentation(at) ? "indent with blanks, not with tabs" : ""});
    return refused;
  }
  return builder.take();
}

}  // namespace retain
