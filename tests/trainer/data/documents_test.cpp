#include "trainer/data/documents.h"

#include <algorithm>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/core/random.h"
#include "parallel/host_name.h"
#include "tests/support/ranks.h"
#include "tests/trainer/data/token_files.h"
#include "tests/trainer/data/tokenizer/small_bpe.h"
#include "trainer/data/host_batch.h"
#include "trainer/data/prepare.h"

namespace retain {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Lists = std::vector<std::vector<int32_t>>;

constexpr int64_t kBudget = 1000;

std::vector<Border> borders(const Documents& documents) {
  std::vector<int32_t> tokens(static_cast<size_t>(documents.tokens()));
  std::vector<Border> borders(tokens.size());
  documents.read(0, tokens, borders);
  return borders;
}

class DocumentsOf : public testing::Test {
 protected:
  Documents open(const Lists& documents, int64_t end_of_document = kEndOfDocumentAuto, int64_t vocab_size = 60000) {
    write_set(folder_.file("a"), documents, vocab_size);
    DataConfig data;
    data.end_of_document = end_of_document;
    return Documents(TokenSet(folder_.file("a"), vocab_size), data);
  }
  /// The text of the notes on the one set of a run, one a line.
  std::string notes(const Lists& documents, int64_t end_of_document = kEndOfDocumentAuto) {
    std::string text;
    std::vector<Documents> run;
    run.push_back(open(documents, end_of_document));
    agree_on_end_token(run);
    for (const SetNote& note : run[0].look_at(60000, kBudget)) {
      text += (note.warning ? "warning: " : "") + note.text + "\n";
    }
    return text;
  }
  const TestFolder folder_;
};

constexpr Border o = Border::kNone, E = Border::kEndToken, I = Border::kIndex;

TEST_F(DocumentsOf, AnEndTokenBeginsTheNextDocumentAndABorderOfTheIndexBehindItIsItsOwn) {
  EXPECT_THAT(borders(open({{1, 2, 256}, {3, 256, 4}, {5, 6}})), ElementsAre(o, o, E, o, E, o, I, o));
  EXPECT_THAT(borders(open({{1, 2, 256}, {256}, {3}})), ElementsAre(o, o, E, E, o));
  EXPECT_THAT(borders(open({{1, 2}, {256, 3}})), ElementsAre(o, o, I, o));  // of a document without an end
}

TEST_F(DocumentsOf, AutoIsTheTokenThatAllBordersFollow) {
  EXPECT_EQ(open({{1, 2, 50256}, {256, 4, 50256}, {5, 6}}).end_token(), 50256);
  EXPECT_EQ(open({{1, 2, 50256}, {3, 50256}}).end_token(), 50256);          // one border, and the set's end
  EXPECT_EQ(open({{1, 2, 50256}, {3, 4}}).end_token(), 256);                // one border could be anything
  EXPECT_EQ(open({{1, 2, 50256}, {3, 256}, {4, 50256}}).end_token(), 256);  // not all
  EXPECT_EQ(open({{1, 2, 7}, {3, 8}, {4, 9}}).end_token(), 256);            // no one token
  EXPECT_EQ(open({{1, 2, 50256, 3, 50256}}).end_token(), 256);              // no border
  EXPECT_EQ(open({{1, 10, 2, 10}, {3, 10}, {4, 10}}).end_token(), 256);     // a line's end
  EXPECT_EQ(open({{1, 0}, {3, 2, 0}, {4, 0}}).end_token(), 0);              // a token of text that ends documents alone
  EXPECT_EQ(open({{1, 9, 300, 2, 300}, {3, 300}, {4, 300}}).end_token(), 300);  // documents inside of documents
}

TEST_F(DocumentsOf, AutoLooksAtAThousandBordersOverTheWholeSet) {
  Lists documents(5000, {1, 2, 300});
  EXPECT_EQ(open(documents).end_token(), 300);
  documents[4994].back() = 256;  // the last one looked at
  EXPECT_EQ(open(documents).end_token(), 256);
}

TEST_F(DocumentsOf, ATokenOrNoneIsTakenAtItsWord) {
  const Lists documents = {{1, 2, 50256}, {3, 7, 50256}};
  EXPECT_THAT(borders(open(documents, 7)), ElementsAre(o, o, o, I, E, o));
  EXPECT_THAT(borders(open(documents, kEndOfDocumentNone)), ElementsAre(o, o, o, I, o, o));
}

TEST_F(DocumentsOf, SequencesInsideADocumentAreNoBorders) {
  TokenWriter writer(folder_.file("a"), 257, 2);
  writer.append(std::vector<int32_t>{1, 2, 3, 4, 5});
  writer.end_document();
  writer.append(std::vector<int32_t>{6, 7});
  writer.finish();
  EXPECT_THAT(borders(Documents(TokenSet(folder_.file("a")), {})), ElementsAre(o, o, o, o, o, I, o));
}

TEST_F(DocumentsOf, ReadsTheSameBordersInPiecesOfAnyLength) {
  Lists lists;
  for (uint64_t i = 0; i < 400; ++i) {
    lists.emplace_back(1 + philox_bits(1, i) % 9, static_cast<int32_t>(philox_bits(2, i) % 100));
    if (philox_bits(3, i) % 3) lists.back().push_back(256);
  }
  const Documents documents = open(lists);
  const std::vector<Border> whole = borders(documents);
  for (const int64_t length : {2, 3, 17, 500}) {
    for (int64_t begin = 0; begin + length <= documents.tokens(); begin += length - 1) {
      std::vector<int32_t> tokens(static_cast<size_t>(length));
      std::vector<Border> piece(tokens.size());
      documents.read(begin, tokens, piece);
      ASSERT_TRUE(std::equal(piece.begin() + 1, piece.end(), whole.begin() + begin + 1)) << begin << " " << length;
    }
  }
}

TEST_F(DocumentsOf, WithoutResetThereAreNone) {
  write_set(folder_.file("a"), {{1, 2, 256}, {3}, {4}});
  DataConfig data;
  data.reset_state_at_documents = false;
  EXPECT_THAT(borders(Documents(TokenSet(folder_.file("a")), data)), ElementsAre(o, o, o, o, o));
}

TEST_F(DocumentsOf, EveryTokenButTheLastHasATargetUnlessTheIndexAloneEndsItsDocument) {
  // Case by case as a Megatron set of GPT-2's tokens has it, and one whose documents have no end token.
  for (const bool ends : {true, false}) {
    Lists lists;
    for (int32_t d = 0; d < 120; ++d) {
      lists.emplace_back();
      for (int32_t i = 0; i < 20 + d % 17; ++i)
        lists.back().push_back(ends ? (7 * d + i * i) % 50000 : 97 + (d + i * i) % 26);
      if (ends) lists.back().push_back(50256);
    }
    const Documents documents = open(lists);
    Windows windows(documents.tokens());
    documents.read(0, windows.tokens, windows.borders);
    const HostBatch batch = make_batch({.seq_len = documents.tokens() - 1, .vocab_size = 60000}, windows);
    EXPECT_EQ(batch.valid_targets, ends ? 3471 : 3351 - 119);
    int64_t resets = 0;
    for (size_t t = 1; t < batch.document_start.size(); ++t) {
      resets += batch.document_start[t] == static_cast<int32_t>(t) ? 1 : 0;
    }
    EXPECT_EQ(resets, 119);
  }
}

TEST_F(DocumentsOf, AnEndTokenThatIsNoTextHasNoneAndATokenOfAnotherVocabularyAnUnknownOne) {
  const Documents documents = open({{1, 2, 300}, {3, 300}, {4, 300}});
  EXPECT_EQ(documents.text_bytes(300), 0);
  EXPECT_EQ(documents.text_bytes(97), 1);
  EXPECT_EQ(documents.text_bytes(301), std::nullopt);
  EXPECT_EQ(open({{1, 46}, {3, 2, 46}, {4, 46}}).text_bytes(46), 1);  // a full stop is text, whatever else it is
}

TEST_F(DocumentsOf, SaysWhatIsNotAsTheTokenizerHasIt) {
  EXPECT_EQ(notes({{97, 98, 256}, {99, 256}}), "");
  EXPECT_EQ(notes({{97, 98}, {99, 100}}), "");  // the index has the borders
  EXPECT_EQ(notes({{97, 300, 50256}, {99, 50256}}),
            "warning: tokens above 256 are none of data.tokenizer = bytes: what is learned of them has no text\n"
            "documents end with token 50256, not with 256 as bytes has it\n");
  EXPECT_EQ(notes({{97, 98}}),
            "the index has one document, and there is no token 256: if there are several, nothing tells where they "
            "begin, and sequences run across them\n");
  EXPECT_THAT(notes({{97, 256, 98, 256}}, kEndOfDocumentNone), HasSubstr("the index has one document: if"));
  EXPECT_EQ(notes({{97, 256, 98}}), "");
}

TEST_F(DocumentsOf, SaysThatAGivenTokenIsNotWhereTheIndexHasBorders) {
  const Lists documents = {{97, 7, 98, 46}, {99, 46}, {}, {100, 46}, {101, 7}, {102}};
  EXPECT_EQ(notes(documents, 7),
            "warning: data.end_of_document is 7, but 1 of 4 borders of the index follow that token; 3 follow token "
            "46\n");
  EXPECT_EQ(notes(documents, 46),
            "warning: data.end_of_document is 46, but 3 of 4 borders of the index follow that token\n");
  EXPECT_EQ(notes({{97, 46}, {98, 46}}, 46), "");
  EXPECT_EQ(notes({{97, 7, 98}}, 7), "");  // no border that says anything
}

TEST_F(DocumentsOf, ARunHasTheEndTokenThatItsSetsShow) {
  const auto tokens = [&](const std::vector<Lists>& lists, int64_t end_of_document = kEndOfDocumentAuto) {
    std::vector<Documents> sets;
    for (const Lists& documents : lists) sets.push_back(open(documents, end_of_document));
    std::vector<std::optional<int32_t>> tokens = {agree_on_end_token(sets)};
    for (const Documents& set : sets) tokens.push_back(set.end_token());
    return tokens;
  };
  const Lists shows_46 = {{1, 46}, {3, 2, 46}, {4, 46}}, shows_300 = {{1, 300}, {3, 300}, {4, 300}}, bare = {{1, 2, 3}},
              own = {{1, 256}, {2, 256}, {3}};
  EXPECT_THAT(tokens({bare, shows_46, shows_46}), ElementsAre(46, 46, 46, 46));
  EXPECT_THAT(tokens({bare, bare}), ElementsAre(256, 256, 256));
  EXPECT_THAT(tokens({shows_46, bare, shows_300}), ElementsAre(256, 46, 256, 300));
  EXPECT_THAT(tokens({shows_46, bare, own}), ElementsAre(256, 46, 256, 256));
  EXPECT_THAT(tokens({shows_46, bare}, 7), ElementsAre(7, 7, 7));
  EXPECT_THAT(tokens({shows_46}, kEndOfDocumentNone), ElementsAre(std::nullopt, std::nullopt));
}

TEST_F(DocumentsOf, ASetThatShowsAnotherEndTokenThanItsRunKeepsItAndIsWarnedOf) {
  const auto notes = [&](const Lists& lists) {
    write_set(folder_.file("a"), lists, 60000);
    const Documents documents(TokenSet(folder_.file("a"), 60000), {}, 46);
    return std::pair(documents.end_token(), documents.look_at(60000, kBudget));
  };
  const auto [kept, warnings] = notes({{1, 300}, {3, 300}, {4, 300}});
  EXPECT_EQ(kept, 300);
  ASSERT_EQ(warnings.size(), 1);
  EXPECT_TRUE(warnings[0].warning);
  EXPECT_EQ(warnings[0].text,
            "documents end with token 300, but the end token of the run is 46, with which generation begins: the sets "
            "of a run should have one end token");
  const auto [taken, lines] = notes({{1, 46, 3}});
  EXPECT_EQ(taken, 46);
  ASSERT_EQ(lines.size(), 1);
  EXPECT_FALSE(lines[0].warning);
}

TEST_F(DocumentsOf, NotesOnSeveralSetsBecomeOne) {
  std::vector<SetNote> notes;
  for (const char* set : {"a", "b", "c", "d", "e", "f"}) notes.push_back({.sets = set, .text = "x"});
  notes.push_back({.sets = "b", .text = "x"});  // trained on and validated with
  notes.push_back({.sets = "e", .text = "x"});
  notes.push_back({.sets = "g", .text = "y"});
  notes.push_back({.sets = "g", .text = "y"});
  const std::vector<SetNote> all = merged(notes);
  ASSERT_EQ(all.size(), 2);
  EXPECT_EQ(all[0].sets, "a, b, c, d and 2 more");
  EXPECT_EQ(all[1].sets, "g");
}

TEST_F(DocumentsOf, RefusesAVocabularyTooSmallForTheLargestTokenWithTheSizeNeeded) {
  std::vector<int32_t> document(100'000, 7);
  document[77'000] = 50256;  // is found in a set that is looked at as a whole
  write_set(folder_.file("a"), {document}, 60000);
  const Documents documents(TokenSet(folder_.file("a"), 257), {});
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { static_cast<void>(documents.look_at(257, 1 << 20)); }),
              HasSubstr(concat("holds token 50256, but model.vocab_size is 257; it must be at least 50257 (",
                               folder_.file("a.bin"), ": byte 154000: token 77000: found 50256)")));
  EXPECT_THAT(documents.look_at(60000, 1 << 20), testing::SizeIs(2));
  EXPECT_THAT(documents.look_at(257, 6400), testing::SizeIs(1));  // not looked at
}

TEST_F(DocumentsOf, KnowsWhetherAnythingIsPredicted) {
  EXPECT_FALSE(open({{1}, {2}, {3}}).predicts_something(100));
  EXPECT_FALSE(open({{1}}).predicts_something(100));
  EXPECT_TRUE(open({{1}, {2, 3}}).predicts_something(100));
  EXPECT_FALSE(open({{1}, {2, 3}}).predicts_something(1));
  Lists late(70'000, {5});
  late.push_back({6, 7});
  const Documents documents = open(late, kEndOfDocumentNone);
  EXPECT_TRUE(documents.predicts_something(documents.tokens()));
  EXPECT_FALSE(documents.predicts_something(70'000));
}

TEST(SetsOfATokenizer, AreRefusedToAnotherOne) {
  const TestFolder folder;
  const auto bpe = make_byte_level_bpe(small_bpe());
  write_file(folder.file("text"), "hello world");
  prepare_tokens(std::vector{folder.file("text")}, folder.file("set"), *bpe);
  EXPECT_EQ(
      message_of(ErrorKind::kData, [&] { Documents(TokenSet(folder.file("set")), DataConfig{}); }),
      concat(folder.file("set"), ": its tokens were made with the tokenizer 'small' (301 tokens, ", bpe->fingerprint(),
             "), but data.tokenizer is 'bytes' (257 tokens, bytes): set data.tokenizer to that "
             "one, or prepare the text with this one"));
  const auto facts = std::make_shared<const TokenizerFacts>(facts_of(*bpe));
  const Documents documents(TokenSet(folder.file("set")), {}, std::nullopt, facts);
  EXPECT_EQ(documents.end_token(), 300);
  EXPECT_EQ(documents.text_bytes(259), 5);
}

/// The sets of one path a rank, opened together.
std::vector<std::vector<Documents>> open_on_ranks(const std::vector<std::string>& paths, const DataConfig& data = {}) {
  std::vector<std::vector<Documents>> sets(paths.size());
  test::run_ranks(static_cast<int>(paths.size()), [&](Communicator& host) {
    const auto rank = static_cast<size_t>(host.rank());
    sets[rank] = open_documents(host, {paths[rank]}, data, 60000, tokenizer_facts(host, data.tokenizer));
  });
  return sets;
}

TEST(SetsOnRanks, OfSeveralShardsAreKnownAlike) {
  const TestFolder folder;
  write_set(folder.file("a1"), {{1, 2, 46}, {3, 46}}, 60000);
  write_set(folder.file("a2"), {{4, 5, 46}}, 60000);
  const std::string pattern = folder.file("a?");
  for (const auto& sets : open_on_ranks({pattern, pattern, pattern})) {
    ASSERT_EQ(sets.size(), 1U);
    EXPECT_EQ(sets[0].set().shards().size(), 2U);
    EXPECT_EQ(sets[0].tokens(), 8);
    EXPECT_EQ(sets[0].end_token(), 46);
    EXPECT_EQ(sets[0].set().fingerprint(), TokenSet(pattern).fingerprint());
  }
}

TEST(SetsOnRanks, AreKnownAlikeAndShowTheSameEndToken) {
  const TestFolder folder;
  write_set(folder.file("a"), {{1, 2, 46}, {3, 46}, {4, 5, 46}}, 60000);
  const Documents alone(TokenSet(folder.file("a"), 60000), {});
  for (const auto& sets : open_on_ranks({folder.file("a"), folder.file("a.idx"), folder.file("a")})) {
    ASSERT_EQ(sets.size(), 1U);
    EXPECT_EQ(sets[0].set().fingerprint(), alone.set().fingerprint());
    EXPECT_EQ(sets[0].tokens(), 8);
    EXPECT_EQ(sets[0].set().documents(), 3);
    EXPECT_EQ(sets[0].end_token(), 46);
    EXPECT_EQ(borders(sets[0]), borders(alone));
  }
}

TEST(SetsOnRanks, OfOtherFilesAreNamedWithRankAndHost) {
  const TestFolder folder;
  std::vector<int32_t> document(5000);
  std::iota(document.begin(), document.end(), 0);
  write_set(folder.file("a"), {document, {1}}, 60000);
  const auto refusal = [&] {
    return message_of(ErrorKind::kConfig, [&] {
      open_on_ranks({folder.file("a"), folder.file("a"), folder.file("b")});
    });
  };
  const std::string named = concat("rank 2: host ", host_name(), ": ", folder.file("b"));
  document.back() = 7;
  write_set(folder.file("b"), {document, {1}}, 60000);
  EXPECT_THAT(refusal(), HasSubstr(named + ".bin is another file than rank 0 reads: the hash of a sample"));
  write_set(folder.file("b"), {document, {1, 2}}, 60000);
  EXPECT_THAT(refusal(), HasSubstr(named + ".bin is another file than rank 0 reads: its size is 10004, there 10002"));
  write_set(folder.file("b"), {document, {1}, {2}}, 60000);
  EXPECT_THAT(refusal(), HasSubstr(named + ".idx is another file than rank 0 reads: the number of sequences is 3"));
  std::filesystem::remove(folder.file("b.bin"));
  EXPECT_THAT(message_of(ErrorKind::kMissingInput,
                         [&] {
                           open_on_ranks({folder.file("a"), folder.file("b")});
                         }),
              HasSubstr(concat("rank 1: host ", host_name(), ": ", folder.file("b.bin: cannot open"))));
}

}  // namespace
}  // namespace retain
