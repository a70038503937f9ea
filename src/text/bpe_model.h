// The model of a byte-pair encoding, as its file states it and as merging needs it.
#pragma once

#include <array>
#include <bitset>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/utf8.h"
#include "text/flat_map.h"
#include "text/vocabulary.h"

namespace moebius {

class BpeModel {
 public:
  /// `options` is the file's "model" without the two large members, which come apart.
  BpeModel(const JsonView& options, const nlohmann::json& vocab, const nlohmann::json& merges);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  /// Whether a word that is a token is that token, whatever the merges say.
  bool ignore_merges() const { return ignore_merges_; }

  /// {rank, merged token}; null if the two never merge.
  const FlatMap::Value* merge(std::int32_t left, std::int32_t right) const {
    return merges_.find(
        FlatMap::pair_key(static_cast<std::uint32_t>(left), static_cast<std::uint32_t>(right)));
  }

  /// Tells `add(id, first, last)` the tokens that `word` starts from, in order: one per character,
  /// or its bytes, or the unknown token. `first` and `last` are the characters that the token's
  /// text begins and ends with.
  template <class Add>
  void each_symbol(std::string_view word, Add add) const;

  /// False if no merge can ever span a border with these characters on its sides. Every merge
  /// joins a token that ends with some character to one that begins with another; what isn't
  /// among those pairs cuts a text into parts that can be merged one by one.
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
  /// Throws Error if the file's unknown token isn't in its vocabulary.
  std::int32_t unknown_id() const;

  Vocabulary vocabulary_;
  FlatMap merges_, joins_, char_ids_;
  std::bitset<128 * 128> ascii_joins_;
  bool cuts_ = true;
  std::array<std::int32_t, 128> ascii_ids_;
  std::array<std::int32_t, 256> byte_ids_;  // of <0x00> to <0xFF>
  bool byte_fallback_, fuse_unknown_, ignore_merges_;
  bool has_unknown_;
  std::string unknown_;
};

template <class Add>
void BpeModel::each_symbol(std::string_view word, Add add) const {
  // An unknown token waits until a known character follows, as in Hugging Face's library: bytes
  // that stand for a character overtake it.
  std::int32_t waiting = -1;
  const auto flush = [&] {
    if (waiting < 0) return;
    std::size_t at = 0;
    const char32_t first = unknown_.empty() ? 0 : next_code_point(unknown_, at);
    char32_t last = first;
    while (at < unknown_.size()) last = next_code_point(unknown_, at);
    add(waiting, first, last);
    waiting = -1;
  };
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(word, at);
    if (const std::int32_t id = id_of_char(c); id >= 0) {
      flush();
      add(id, c, c);
      continue;
    }
    if (byte_fallback_) {
      bool known = true;
      for (std::size_t i = begin; i < at; ++i) {
        known = known && byte_ids_[static_cast<unsigned char>(word[i])] >= 0;
      }
      if (known) {
        for (std::size_t i = begin; i < at; ++i) {
          add(byte_ids_[static_cast<unsigned char>(word[i])], U'<', U'>');
        }
        continue;
      }
    }
    if (!has_unknown_) continue;  // the character vanishes
    if (!fuse_unknown_) flush();
    waiting = unknown_id();
  }
  flush();
}

}  // namespace moebius
