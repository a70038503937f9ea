// The BPE model of a tokenizer: vocabulary, merge ranks and options.
#pragma once

#include <array>
#include <bitset>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/utf8.h"
#include "text/flat_map.h"
#include "text/tokenizer_model.h"

namespace moebius {

/// The two tokens that a merge joins.
using Merge = std::pair<std::string, std::string>;
/// A list of merges as the files have it, each "a b" or ["a", "b"], in order; lines that begin with
/// "#version" are skipped. Throws Error naming `where` and the entry that is not a pair.
std::vector<Merge> merge_pairs(const nlohmann::json& merges, const std::string& where);

class BpeModel final : public TokenizerModel {
 public:
  /// `options` is the file's "model" without its two large members, which are passed separately.
  BpeModel(const JsonView& options, const nlohmann::json& vocab, const nlohmann::json& merges);

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::unique_ptr<WordEncoder> encoder() const override;
  /// Whether a word that is in the vocabulary is encoded as that token without merging.
  bool ignore_merges() const { return ignore_merges_; }

  /// {rank, merged token}; null if no merge joins the two.
  const FlatMap::Value* merge(std::int32_t left, std::int32_t right) const {
    return merges_.find(
        FlatMap::pair_key(static_cast<std::uint32_t>(left), static_cast<std::uint32_t>(right)));
  }

  /// Tells `add(id, size, first, last)` the tokens that `word` starts from, in order: one per
  /// character, or its bytes, or the unknown token. `size` is how many bytes of the word it stands
  /// for; `first` and `last` are the characters that the token's text begins and ends with.
  template <class Add>
  void each_symbol(std::string_view word, Add add) const;

  /// Whether a merge may join a token that ends with the character `last` and one that begins with
  /// `first`. Where none may, a text can be split into parts that are merged independently.
  bool may_join(char32_t last, char32_t first) const {
    if (!cuts_) return true;
    if (last < 128 && first < 128) return ascii_joins_[last * 128 + first];
    return joins_.find(FlatMap::pair_key(last, first)) != nullptr;
  }

 private:
  void load_vocabulary(const nlohmann::json& vocab, const std::string& where);
  void load_merges(const nlohmann::json& merges, const std::string& where);
  void add_merge(const std::string& left, const std::string& right, std::int32_t rank,
                 const std::string& where);
  std::int32_t id_of_char(char32_t c) const {
    if (c < 128) return ascii_ids_[c];
    const FlatMap::Value* found = char_ids_.find(c);
    return found == nullptr ? -1 : found->first;
  }
  /// The token of a character as it is written at its place in a word: with the prefix unless it
  /// comes first, with the suffix if it comes last.
  std::string affixed(std::string_view character, bool first, bool last) const;
  /// Throws Error if the file's unknown token is not in its vocabulary.
  std::int32_t unknown_id() const;
  /// Whether each byte of `text` has a token.
  bool has_bytes(std::string_view text) const;

  Vocabulary vocabulary_;
  FlatMap merges_, joins_, char_ids_;
  std::bitset<128 * 128> ascii_joins_;
  bool cuts_ = true;
  std::array<std::int32_t, 128> ascii_ids_;
  std::array<std::int32_t, 256> byte_ids_;  // of <0x00> to <0xFF>
  std::string prefix_, suffix_;  // of all tokens of a word but the first, and of the last
  bool byte_fallback_, fuse_unknown_, ignore_merges_;
  bool has_unknown_;
  std::string unknown_;
};

/// First and last character of a text, which must not be empty.
std::pair<char32_t, char32_t> edges(std::string_view text);

template <class Add>
void BpeModel::each_symbol(std::string_view word, Add add) const {
  // As in Hugging Face's library an unknown token is emitted when a known character follows; byte
  // tokens of a character are emitted before it.
  std::int32_t waiting = -1;
  std::uint32_t waiting_size = 0;
  const auto add_token = [&](std::int32_t id, std::uint32_t size, std::string_view text) {
    const auto [first, last] = text.empty() ? std::pair<char32_t, char32_t>() : edges(text);
    add(id, size, first, last);
  };
  const auto flush = [&] {
    if (waiting >= 0) add_token(waiting, waiting_size, unknown_);
    waiting = -1;
  };
  const bool has_affixes = !prefix_.empty() || !suffix_.empty();
  std::string text;
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(word, at);
    const auto size = static_cast<std::uint32_t>(at - begin);
    std::string_view character = word.substr(begin, size);
    if (!has_affixes) {
      if (const std::int32_t id = id_of_char(c); id >= 0) {
        flush();
        add(id, size, c, c);
        continue;
      }
    } else {
      text = affixed(character, begin == 0, at == word.size());
      character = text;
      if (const auto id = vocabulary_.id_of(text)) {
        flush();
        add_token(*id, size, text);
        continue;
      }
    }
    if (byte_fallback_ && has_bytes(character)) {
      for (const char byte : character) {
        add(byte_ids_[static_cast<unsigned char>(byte)], 1u, U'<', U'>');
      }
      continue;
    }
    if (!has_unknown_) continue;  // the character is dropped
    if (waiting >= 0 && fuse_unknown_) {
      waiting_size += size;
      continue;
    }
    flush();
    waiting = unknown_id();
    waiting_size = size;
  }
  flush();
}

}  // namespace moebius
