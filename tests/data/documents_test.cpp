#include "data/documents.h"

#include <gtest/gtest.h>

#include "base/support.h"

namespace moebius {
namespace {

using support::TempDir;
using Documents = std::vector<std::string>;

class DocumentsTest : public ::testing::Test {
 protected:
  std::string error(const std::string& name, std::string_view bytes, const std::string& key) {
    const fs::path file = directory_.write(name, bytes);
    return support::message_of(directory_.path(), [&] { read_documents(file, key); });
  }
  std::string error(const std::string& name, std::string_view bytes) {
    return error(name, bytes, "text");
  }
  TempDir directory_;
};

TEST_F(DocumentsTest, ReadsLinesAndSkipsBlankOnes) {
  const auto file = directory_.write("a.jsonl",
                                     "{\"text\": \"one\\ntwo\", \"id\": 3}\n\n  \r\n"
                                     "{\"text\": \"\\u00e4 \xE2\x82\xAC\"}\r\n{\"text\": \"\"}");
  EXPECT_EQ(read_documents(file), (Documents{"one\ntwo", "\xC3\xA4 \xE2\x82\xAC", ""}));
}

TEST_F(DocumentsTest, SkipsAByteOrderMark) {
  const std::string mark = "\xEF\xBB\xBF";
  const auto lines = directory_.write("a.jsonl", mark + "\r\n{\"text\": \"one\"}\r\n");
  EXPECT_EQ(read_documents(lines), Documents{"one"});
  const auto array = directory_.write("a.json", mark + "[{\"text\": \"one\"}]");
  EXPECT_EQ(read_documents(array), Documents{"one"});
}

TEST_F(DocumentsTest, ReadsAnotherKey) {
  const auto file = directory_.write("a.jsonl", R"({"text": "no", "body": "yes"})");
  EXPECT_EQ(read_documents(file, "body"), Documents{"yes"});
}

TEST_F(DocumentsTest, ReadsAnArray) {
  const auto file = directory_.write("a.json", "[{\"text\": \"one\"},\n {\"text\": \"two\"}]\n");
  EXPECT_EQ(read_documents(file), (Documents{"one", "two"}));
}

TEST_F(DocumentsTest, TakesAnyOtherFileWhole) {
  const std::string text = "{\"text\": 1}\n\n second line\n";
  EXPECT_EQ(read_documents(directory_.write("a.txt", text)), Documents{text});
  EXPECT_EQ(read_documents(directory_.write("README", text)), Documents{text});
}

TEST_F(DocumentsTest, MalformedJsonNamesTheLine) {
  EXPECT_EQ(error("a.jsonl", "{\"text\": \"one\"}\n\n{\"text\": }\n"),
            "a.jsonl: line 3: malformed JSON at byte 10 of the line");
  EXPECT_EQ(error("a.jsonl", "{\"text\": \"one\"} {\"text\": \"two\"}"),
            "a.jsonl: line 1: malformed JSON at byte 17 of the line");
  EXPECT_EQ(error("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"cut"),
            "a.jsonl: line 2: malformed JSON at byte 14 of the line");
  EXPECT_EQ(error("a.json", "[{\"text\": \"one\"},\n{\"text\": nil}]"),
            "a.json: line 2: malformed JSON at byte 11 of the line");
}

TEST_F(DocumentsTest, MissingKeyListsTheKeysThatExist) {
  EXPECT_EQ(error("a.jsonl", "{\"text\": \"one\"}\n{\"prompt\": 1, \"answer\": 2}"),
            "a.jsonl: line 2: no key \"text\"; its keys are \"answer\", \"prompt\"");
  EXPECT_EQ(error("a.json", "[{\"text\": \"one\"}, {}]"),
            "a.json: record 2: no key \"text\"; the object is empty");
  EXPECT_EQ(error("a.jsonl", "{\"a\\nb\": 1}", "x"),
            "a.jsonl: line 1: no key \"x\"; its keys are \"a\\nb\"");
}

TEST_F(DocumentsTest, LongKeyListsAreCut) {
  EXPECT_EQ(error("a.jsonl", R"({"0":0,"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0})"),
            "a.jsonl: line 1: no key \"text\"; its keys are \"0\", \"1\", \"2\", \"3\", \"4\", "
            "\"5\", \"6\", \"7\" and 2 more");
  // 39 bytes and then a character of two: the cut falls before it.
  EXPECT_EQ(error("a.jsonl", "{\"" + std::string(39, 'k') + "\xC3\xA4tail\": 0}"),
            "a.jsonl: line 1: no key \"text\"; its keys are \"" + std::string(39, 'k') + "\"...");
}

TEST_F(DocumentsTest, WrongTypesAreNamed) {
  EXPECT_EQ(error("a.jsonl", "{\"text\": 7}"),
            "a.jsonl: line 1: the value of \"text\" is not a string but number");
  EXPECT_EQ(error("a.jsonl", "\n[1]\n"), "a.jsonl: line 2: expected a JSON object, found array");
  EXPECT_EQ(error("a.json", "[{\"text\": \"x\"}, null]"),
            "a.json: record 2: expected a JSON object, found null");
  EXPECT_EQ(error("a.json", "{\"text\": \"x\"}"),
            "a.json: expected a JSON array of objects, found object");
}

TEST_F(DocumentsTest, NothingToReadIsAnError) {
  for (const char* name : {"a.jsonl", "a.json", "a.txt"}) {
    EXPECT_EQ(error(name, ""), std::string(name) + ": no text in it");
  }
  EXPECT_EQ(error("a.jsonl", "\n  \n"), "a.jsonl: no text in it");
  EXPECT_EQ(error("a.jsonl", "{\"text\": \"\"}\n"), "a.jsonl: no text in it");
  EXPECT_EQ(error("a.json", " \n"), "a.json: no text in it");
  EXPECT_EQ(error("a.json", "[]"), "a.json: no text in it");
}

TEST_F(DocumentsTest, OnlyUtf8Enters) {
  EXPECT_EQ(error("a.txt", "one\n\xFFtwo"), "a.txt: not UTF-8 at byte 4 (line 2), value 0xFF");
  EXPECT_EQ(error("a.jsonl", "{\"text\": \"\xC0\x80\"}"),
            "a.jsonl: not UTF-8 at byte 10 (line 1), value 0xC0");
  // A lone surrogate has no UTF-8 form.
  EXPECT_EQ(error("a.jsonl", "{\"text\": \"\\ud800\"}"),
            "a.jsonl: line 1: malformed JSON at byte 17 of the line");
}

TEST_F(DocumentsTest, MissingFileIsNamed) {
  EXPECT_EQ(support::message_of(directory_.path(),
                                [&] { read_documents(directory_.path() / "none.jsonl"); }),
            "none.jsonl: cannot open: No such file or directory");
}

}  // namespace
}  // namespace moebius
