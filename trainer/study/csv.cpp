#include "trainer/study/csv.h"

#include <fmt/core.h>

#include <set>

#include "kernels/core/error.h"
#include "kernels/core/text.h"

namespace retain {
namespace {

/// Walks over the text and knows the line and column of where it is.
class Reader {
 public:
  Reader(std::string_view text, const CsvTable& table) : text_(text), table_(table) {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (text_.starts_with(kByteOrderMark)) text_.remove_prefix(kByteOrderMark.size());
  }

  bool at_end() const { return at_ == text_.size(); }

  std::vector<CsvField> row() {
    std::vector<CsvField> fields;
    do {
      fields.push_back(field());
    } while (take(','));
    if (!at_end()) end_line();
    return fields;
  }

 private:
  bool take(char wanted) {
    if (at_end() || text_[at_] != wanted) return false;
    step();
    return true;
  }

  void step() {
    const bool line_ends = text_[at_] == '\n' || (text_[at_] == '\r' && text_.substr(at_ + 1, 1) != "\n");
    column_ = line_ends ? 1 : column_ + 1;
    line_ += line_ends;
    ++at_;
  }

  void end_line() {
    take('\r');
    take('\n');
  }

  CsvField field() {
    CsvField field{.text = "", .line = line_, .column = column_};
    if (take('"')) {
      quoted(field);
    } else {
      while (!at_end() && std::string_view(",\r\n\"").find(text_[at_]) == std::string_view::npos) {
        field.text += text_[at_];
        step();
      }
    }
    if (!at_end() && std::string_view(",\r\n").find(text_[at_]) == std::string_view::npos)
      table_.refuse(
          {.text = "", .line = line_, .column = column_},
          fmt::format("found {} in a field; a field with quotes in it is quoted as a whole, and \"\" stands for "
                      "a quote in it",
                      in_quotes(text_.substr(at_, 1))));
    return field;
  }

  void quoted(CsvField& field) {
    for (; !at_end(); step()) {
      if (text_[at_] == '"' && text_.substr(at_ + 1, 1) != "\"") return step();
      if (text_[at_] == '"') step();
      field.text += text_[at_];
    }
    table_.refuse(field, "a quoted field begins here and never ends; close it with \"");
  }

  std::string_view text_;
  const CsvTable& table_;
  size_t at_ = 0;
  int64_t line_ = 1, column_ = 1;
};

bool is_blank(const std::vector<CsvField>& row) { return row.size() == 1 && row[0].text.empty(); }

void check_header(const CsvTable& table) {
  std::set<std::string> names;
  for (const CsvField& field : table.header)
    if (!names.insert(field.text).second)
      table.refuse(field, "the column " + in_quotes(field.text) + " stands twice; rename one");
}

void append_field(std::string& line, const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) {
    line += text;
    return;
  }
  line += '"';
  for (const char c : text) line.append(c == '"' ? 2 : 1, c);
  line += '"';
}

}  // namespace

int64_t CsvTable::find(std::string_view name) const {
  for (size_t i = 0; i < header.size(); ++i)
    if (header[i].text == name) return static_cast<int64_t>(i);
  return -1;
}

void CsvTable::refuse(const CsvField& field, const std::string& problem) const {
  throw Error(ErrorKind::kData, fmt::format("{}:{}:{}: {}", path, field.line, field.column, problem));
}

CsvTable parse_csv(std::string_view text, const std::string& path) {
  CsvTable table{.path = path, .header = {}, .rows = {}};
  Reader reader(text, table);
  while (!reader.at_end()) {
    std::vector<CsvField> row = reader.row();
    if (is_blank(row)) continue;
    if (table.header.empty()) {
      table.header = std::move(row);
      check_header(table);
      continue;
    }
    if (row.size() != table.header.size())
      table.refuse(row.front(),
                   fmt::format("this row has {} fields and the header {}", row.size(), table.header.size()));
    table.rows.push_back(std::move(row));
  }
  if (table.header.empty()) table.refuse({}, "no header; the first line of a table names its columns");
  return table;
}

std::string csv_line(const std::vector<std::string>& fields) {
  std::string line;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) line += ',';
    append_field(line, fields[i]);
  }
  line += '\n';
  return line;
}

}  // namespace retain
