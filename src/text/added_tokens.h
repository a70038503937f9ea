// Tokens that are found in the text before the model sees it: `<s>`, `<|endoftext|>` and the like.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/json.h"
#include "text/aligned_text.h"
#include "text/normalizer.h"
#include "text/vocabulary.h"

namespace moebius {

/// Finds, at a position, the longest of a set of strings. Sorted strings, so that a million cost
/// what they are long and no more.
class StringSet {
 public:
  struct Match {
    std::int32_t value = -1;
    std::size_t size = 0;
  };
  StringSet() = default;
  /// The value comes back from `longest_at`; the first of equal strings wins. "" is left out.
  explicit StringSet(std::vector<std::pair<std::string, std::int32_t>> entries);
  bool empty() const { return entries_.empty(); }
  /// `value` is -1 if none starts at `at`.
  Match longest_at(std::string_view text, std::size_t at) const;
  bool may_start(char c) const {
    const auto byte = static_cast<unsigned char>(c);
    return starts_[byte] < starts_[byte + 1];
  }

 private:
  std::vector<std::pair<std::string, std::int32_t>> entries_;  // sorted, none twice
  std::array<std::size_t, 257> starts_{};  // the entries that begin with a byte, and where they end
};

class AddedTokens {
 public:
  /// `list` is a file's "added_tokens"; `where` names it in errors. As in Hugging Face's library a
  /// token of the model keeps the model's number and the others are numbered on from there in the
  /// file's order, whatever "id" says.
  AddedTokens(const nlohmann::json& list, const std::string& where, const Vocabulary& model);
  /// From now on `split_raw` and `split_normalized` find the tokens.
  void find_in_text(const Normalizer* normalizer);

  std::optional<std::int32_t> id_of(std::string_view content) const;
  /// Null if none of these has this number. `text_of` is what the decoder gets: the normalised
  /// form of a token that is looked for in the normalised text.
  const std::string* token_of(std::int32_t id) const;
  const std::string* text_of(std::int32_t id) const;
  bool is_special(std::string_view content) const { return special_.contains(content); }
  std::int32_t max_id() const;

  /// Cuts `text` and calls `piece(id, part)`, with id -1 for what lies between the tokens: first
  /// those that are looked for in the raw text, or those that are looked for in the normalised.
  using Piece = std::function<void(std::int32_t id, AlignedView part)>;
  void split_raw(AlignedView text, const Piece& piece) const { split(raw_, text, piece); }
  void split_normalized(AlignedView text, const Piece& piece) const {
    split(normalized_, text, piece);
  }

 private:
  struct Token {
    std::string content;
    bool special, normalized, lstrip, rstrip, single_word;
    std::string text;  // what is looked for, and what the decoder gets
  };
  /// Its content, which stays where it is.
  const std::string& add(Token token, const Vocabulary& model);
  void split(const StringSet& set, AlignedView text, const Piece& piece) const;

  std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>> ids_;
  std::unordered_map<std::int32_t, Token> tokens_;
  std::unordered_set<std::string, StringHash, std::equal_to<>> special_;
  std::vector<const std::string*> special_contents_, other_contents_;  // in the file's order
  std::int32_t next_id_ = 0;
  StringSet raw_, normalized_;
};

}  // namespace moebius
