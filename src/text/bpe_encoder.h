// Merges: from a word to its tokens. Holds the working memory of one call of encode.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/bpe_model.h"
#include "text/word_cache.h"

namespace moebius {

class BpeEncoder {
 public:
  explicit BpeEncoder(const BpeModel& model) : model_(model) {}

  /// Appends the tokens of `word`.
  void encode(std::string_view word, std::vector<std::int32_t>& out);

 private:
  void encode_word(std::string_view word, std::vector<std::int32_t>& out);
  /// A word that may be a whole text: cut where no merge can reach across, merged part by part.
  void encode_text(std::string_view word, std::vector<std::int32_t>& out);
  /// Merges `symbols`, lowest rank first and leftmost among equals, and appends the result.
  void merge(std::span<const std::int32_t> symbols, std::vector<std::int32_t>& out);
  /// By looking at all pairs for each merge: n^2, and quickest while n is small.
  void merge_by_scan(std::vector<std::int32_t>& out);
  /// With a linked list and a heap: n log n.
  void merge_by_heap(std::vector<std::int32_t>& out);

  struct Symbol {
    std::int32_t id;
    std::int32_t prev, next;  // positions in symbols_, -1 at the ends
  };
  struct Candidate {
    std::int32_t rank, at, left, right, merged;
  };
  void consider(std::int32_t at);

  const BpeModel& model_;
  WordCache words_, parts_;
  std::vector<std::int32_t> word_symbols_, text_symbols_;
  std::vector<std::int32_t> work_;
  std::vector<FlatMap::Value> pairs_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

}  // namespace moebius
