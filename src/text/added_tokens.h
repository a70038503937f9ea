// Added tokens: tokens such as `<s>` and `<|endoftext|>` that are matched in the text before the
// tokenizer's model encodes the rest.
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

/// A set of strings that finds the longest one at a position of a text. It holds them sorted, so
/// that its memory is that of the strings.
class StringSet {
 public:
  struct Match {
    std::int32_t value = -1;
    std::size_t size = 0;
  };
  StringSet() = default;
  /// `longest_at` returns the value of an entry. Of equal strings the first counts; "" is ignored.
  explicit StringSet(std::vector<std::pair<std::string, std::int32_t>> entries);
  bool empty() const { return entries_.empty(); }
  /// The longest entry that starts at `at`; `value` is -1 if there is none.
  Match longest_at(std::string_view text, std::size_t at) const;
  bool may_start(char c) const {
    const auto byte = static_cast<unsigned char>(c);
    return starts_[byte] < starts_[byte + 1];
  }

 private:
  std::vector<std::pair<std::string, std::int32_t>> entries_;  // sorted, distinct
  std::array<std::size_t, 257> starts_{};  // by first byte: its first entry; [256]: the end
};

class AddedTokens {
 public:
  /// `list` is the "added_tokens" of a file, or null; `where` names it in errors. As in Hugging
  /// Face's library a token of the model's vocabulary keeps its id, and the others get the next
  /// free ids in the order of the list, whatever "id" says.
  AddedTokens(const nlohmann::json& list, const std::string& where, const Vocabulary& model);
  /// Makes `split_raw` and `split_normalized` match the tokens; before, they match none.
  void find_in_text(const Normalizer* normalizer);

  std::optional<std::int32_t> id_of(std::string_view content) const;
  /// The token with this id; null if there is none. `text_of` is what the decoder gets: the
  /// normalised form of a token that is matched in the normalised text.
  const std::string* token_of(std::int32_t id) const;
  const std::string* text_of(std::int32_t id) const;
  bool is_special(std::string_view content) const { return special_.contains(content); }
  std::int32_t max_id() const;

  /// Splits `text` at added tokens and calls `piece(id, part)` for each part in order, with id -1
  /// for text between tokens. The first matches tokens of the raw text, the second those of the
  /// normalised text.
  using Piece = std::function<void(std::int32_t id, AlignedView part)>;
  void split_raw(AlignedView text, const Piece& piece) const { split(raw_, text, piece); }
  void split_normalized(AlignedView text, const Piece& piece) const {
    split(normalized_, text, piece);
  }

 private:
  struct Token {
    std::string content;
    bool special, normalized, lstrip, rstrip, single_word;
    std::string text;  // what is matched in a text, and what the decoder gets
  };
  /// Returns the token's content, at an address that stays valid.
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
