// Byte-pair encoding of a word: merges its symbols by rank.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/bpe_model.h"
#include "text/word_cache.h"

namespace moebius {

class BpeEncoder final : public WordEncoder {
 public:
  explicit BpeEncoder(const BpeModel& model) : model_(model) {}
  void encode(std::string_view word, std::vector<TokenPiece>& out) override;

 private:
  /// A token that may still be merged, and the number of bytes of the word that it covers.
  struct Symbol {
    std::int32_t id;
    std::uint32_t size;
  };
  void encode_word(std::string_view word, std::vector<TokenPiece>& out);
  /// Encodes a word that may be a whole text: splits it where no merge can span the border, and
  /// merges part by part.
  void encode_text(std::string_view word, std::vector<TokenPiece>& out);
  /// Merges `symbols`, the first of which begins at byte `at`, lowest rank first and leftmost among
  /// equals, and appends the result.
  void merge(std::span<const Symbol> symbols, std::uint32_t at, std::vector<TokenPiece>& out);
  /// Scans all pairs for each merge: O(n^2), the fastest way for small n.
  void merge_by_scan();
  /// Uses a linked list and a heap: O(n log n).
  void merge_by_heap();

  struct Link {
    Symbol symbol;
    std::int32_t prev, next;  // positions in links_, -1 at the ends
  };
  struct Candidate {
    std::int32_t rank, at, left, right, merged;
  };
  void consider(std::int32_t at);

  const BpeModel& model_;
  WordCache words_, parts_;
  std::vector<Symbol> symbols_;
  std::vector<Symbol> work_;
  std::vector<TokenPiece> part_;
  std::vector<FlatMap::Value> pairs_;
  std::vector<Link> links_;
  std::vector<Candidate> heap_;
};

}  // namespace moebius
