// Small tokenizer.json files in a temporary folder, and the way to the real ones.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/tokenizer.h"

namespace moebius {

using Ids = std::vector<std::int32_t>;

/// A folder that is removed with this object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "moebius_test_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail("cannot make a temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

inline Tokenizer tokenizer_from_text(const std::string& text) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "tokenizer.json", std::ios::binary) << text;
  return Tokenizer::load(folder.path());
}

/// A vocabulary of a, b, c, ab, abc and a space; tests change what they are about.
inline nlohmann::json small_tokenizer() {
  return nlohmann::json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, " ": 5},
              "merges": [["a", "b"], "ab c"]}})");
}

inline Tokenizer make_tokenizer(const nlohmann::json& json) {
  return tokenizer_from_text(json.dump());
}

/// The message of the Error that loading `text` throws; empty if it loads.
inline std::string load_error(const std::string& text) {
  try {
    tokenizer_from_text(text);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}
inline std::string load_error(const nlohmann::json& json) {
  return load_error(json.dump());
}

inline nlohmann::json added_token(const std::string& content, bool special = false) {
  return {{"id", 0},         {"content", content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"special", special}, {"normalized", false}};
}

inline fs::path test_data() {
  const char* folder = std::getenv("MOEBIUS_TEST_DATA");
  return folder != nullptr ? folder : MOEBIUS_TEST_DATA_DEFAULT;
}

/// All characters whose handling is easily wrong, in a few texts.
inline const std::vector<std::string>& hard_texts() {
  using namespace std::string_literals;
  static const std::vector<std::string> texts = {
      "",
      " ",
      "     ",
      "\n\n \t\n",
      "Once upon a time,  there   was\n\n a girl.",
      "a\xCC\x81 e\xCC\x88",
      "\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7 \xF0\x9F\x87\xA9",
      "\xE6\xBC\xA2\xE5\xAD\x97\xE3\x80\x82",
      "\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D \xD9\x85\xD8\xB1",
      "a\0b\x01\x7F"s,
      "a\xC2\xA0\xE3\x80\x80 b\xE2\x80\xA8 c",
      "a<s>b</s><s> <|endoftext|><|endoftext|>x",
      "we'll don't 's 'S ''ve"};
  return texts;
}

}  // namespace moebius
