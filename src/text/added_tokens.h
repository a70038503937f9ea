// Tokens that are found in the text before the model sees it: `<s>`, `<|endoftext|>` and the like.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/json.h"
#include "text/flat_map.h"
#include "text/normalizer.h"
#include "text/vocabulary.h"

namespace moebius {

/// Finds, at a position, the longest of a set of strings.
class StringSet {
 public:
  /// `value` comes back from `longest_at`; the first of equal strings wins. "" is left out.
  void add(std::string_view text, std::int32_t value);
  bool empty() const { return nodes_.size() == 0; }
  struct Match {
    std::int32_t value = -1;
    std::size_t size = 0;
  };
  /// `value` is -1 if none starts at `at`.
  Match longest_at(std::string_view text, std::size_t at) const;
  bool may_start(char c) const { return starts_[static_cast<unsigned char>(c)]; }

 private:
  FlatMap nodes_;  // (node, byte) -> {node behind it, value or -1}
  std::int32_t count_ = 1;
  bool starts_[256] = {};
};

class AddedTokens {
 public:
  /// Reads "added_tokens". As in Hugging Face's library a token of the model keeps the model's
  /// number and the others are numbered on from there in the file's order, whatever "id" says.
  AddedTokens(const JsonView& file, const Vocabulary& model, const Normalizer* normalizer);

  std::optional<std::int32_t> id_of(std::string_view content) const;
  /// Null if none of these has this number. `text_of` is what the decoder gets: the normalised
  /// form of a token that is looked for in the normalised text.
  const std::string* token_of(std::int32_t id) const;
  const std::string* text_of(std::int32_t id) const;
  bool is_special(std::string_view content) const { return special_.contains(content); }
  std::int32_t max_id() const;

  /// Cuts `text` and calls `piece(id, part)`, with id -1 for what lies between the tokens: first
  /// those that are looked for in the raw text, or those that are looked for in the normalised.
  using Piece = std::function<void(std::int32_t id, std::string_view part)>;
  void split_raw(std::string_view text, const Piece& piece) const { split(raw_, text, piece); }
  void split_normalized(std::string_view text, const Piece& piece) const {
    split(normalized_, text, piece);
  }

 private:
  struct Token {
    std::string content;
    bool special, normalized, lstrip, rstrip, single_word;
    std::string text;  // what is looked for, and what the decoder gets
  };
  void add(Token token, const Vocabulary& model);
  void split(const StringSet& set, std::string_view text, const Piece& piece) const;

  std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>> ids_;
  std::unordered_map<std::int32_t, Token> tokens_;
  std::unordered_set<std::string, StringHash, std::equal_to<>> special_;
  std::int32_t next_id_ = 0;
  StringSet raw_, normalized_;
};

}  // namespace moebius
