// A cache of the encodings of short words. It belongs to one call of encode, so it needs no lock;
// words repeat often enough within a text.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_model.h"

namespace moebius {

class WordCache {
 public:
  /// Result of `find`: the entry, or the slot for `insert`.
  struct Place {
    std::uint64_t hash;
    std::size_t slot;
    bool found;
    std::span<const TokenPiece> pieces;
  };

  WordCache() : slots_(64) {}

  Place find(std::string_view key) const {
    const std::uint64_t hash = std::hash<std::string_view>{}(key) | 1;  // 0: free slot
    std::size_t at = (hash >> 7) & (slots_.size() - 1);
    for (;; at = (at + 1) & (slots_.size() - 1)) {
      const Slot& slot = slots_[at];
      if (slot.hash == 0) return {hash, at, false, {}};
      if (slot.hash == hash && std::string_view(keys_).substr(slot.key, slot.key_size) == key) {
        return {hash, at, true, std::span(pieces_).subspan(slot.pieces, slot.pieces_size)};
      }
    }
  }

  /// `place` is the result of `find` for the same key, with no `insert` in between.
  void insert(const Place& place, std::string_view key, std::span<const TokenPiece> pieces) {
    if (size_ == kLimit) return;
    slots_[place.slot] = {place.hash, static_cast<std::uint32_t>(keys_.size()),
                          static_cast<std::uint32_t>(key.size()),
                          static_cast<std::uint32_t>(pieces_.size()),
                          static_cast<std::uint32_t>(pieces.size())};
    keys_.append(key);
    pieces_.insert(pieces_.end(), pieces.begin(), pieces.end());
    if (2 * ++size_ > slots_.size()) grow();
  }

 private:
  struct Slot {
    std::uint64_t hash = 0;
    std::uint32_t key = 0, key_size = 0, pieces = 0, pieces_size = 0;
  };
  static constexpr std::size_t kLimit = std::size_t{1} << 20;  // words; bounds the memory

  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.hash == 0) continue;
      std::size_t at = (slot.hash >> 7) & (slots_.size() - 1);
      while (slots_[at].hash != 0) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = slot;
    }
  }

  std::vector<Slot> slots_;
  std::string keys_;
  std::vector<TokenPiece> pieces_;
  std::size_t size_ = 0;
};

}  // namespace moebius
