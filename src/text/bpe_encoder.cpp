#include "text/bpe_encoder.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace moebius {
namespace {

constexpr std::size_t kLongWord = 128;   // bytes; longer words are split before merging
constexpr std::size_t kScanLimit = 48;   // symbols; above it the heap is faster
constexpr std::size_t kCachedPart = 32;  // symbols

/// The bytes of the symbols, which are the key of the cache.
template <class Symbol>
std::string_view key_of(const std::vector<Symbol>& symbols) {
  return {reinterpret_cast<const char*>(symbols.data()), symbols.size() * sizeof(Symbol)};
}

/// Appends `pieces` of a part that begins at byte `at`.
void append_moved(std::span<const TokenPiece> pieces, std::uint32_t at,
                  std::vector<TokenPiece>& out) {
  for (const TokenPiece& piece : pieces)
    out.push_back({piece.id, piece.begin + at, piece.end + at});
}

}  // namespace

void BpeEncoder::encode(std::string_view word, std::vector<TokenPiece>& out) {
  if (word.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    fail("a word of {} bytes is too long to tokenize", word.size());
  }
  if (model_.ignore_merges()) {
    if (const auto id = model_.vocabulary().id_of(word)) {
      return out.push_back({*id, 0, static_cast<std::uint32_t>(word.size())});
    }
  }
  if (word.size() > kLongWord) return encode_text(word, out);
  const WordCache::Place place = words_.find(word);
  if (place.found) {
    out.insert(out.end(), place.pieces.begin(), place.pieces.end());
    return;
  }
  const std::size_t before = out.size();
  encode_word(word, out);
  words_.insert(place, word, std::span(out).subspan(before));
}

void BpeEncoder::encode_word(std::string_view word, std::vector<TokenPiece>& out) {
  symbols_.clear();
  model_.each_symbol(word, [&](std::int32_t id, std::uint32_t size, char32_t, char32_t) {
    symbols_.push_back({id, size});
  });
  merge(symbols_, 0, out);
}

void BpeEncoder::encode_text(std::string_view word, std::vector<TokenPiece>& out) {
  symbols_.clear();
  char32_t last_of_previous = 0;
  std::uint32_t begin = 0, end = 0;  // bytes of the part that `symbols_` hold
  const auto finish_part = [&] {
    if (symbols_.size() > kCachedPart) {
      merge(symbols_, begin, out);
    } else {
      const std::string_view key = key_of(symbols_);
      const WordCache::Place place = parts_.find(key);
      if (place.found) {
        append_moved(place.pieces, begin, out);
      } else {
        part_.clear();
        merge(symbols_, 0, part_);
        parts_.insert(place, key, part_);
        append_moved(part_, begin, out);
      }
    }
    symbols_.clear();
    begin = end;
  };
  model_.each_symbol(word, [&](std::int32_t id, std::uint32_t size, char32_t first, char32_t last) {
    if (!symbols_.empty() && !model_.may_join(last_of_previous, first)) finish_part();
    symbols_.push_back({id, size});
    end += size;
    last_of_previous = last;
  });
  if (!symbols_.empty()) finish_part();
}

void BpeEncoder::merge(std::span<const Symbol> symbols, std::uint32_t at,
                       std::vector<TokenPiece>& out) {
  work_.assign(symbols.begin(), symbols.end());
  if (work_.size() <= kScanLimit) {
    merge_by_scan();
  } else {
    merge_by_heap();
  }
  for (const Symbol& symbol : work_) {
    out.push_back({symbol.id, at, at + symbol.size});
    at += symbol.size;
  }
}

void BpeEncoder::merge_by_scan() {
  constexpr FlatMap::Value kNone{std::numeric_limits<std::int32_t>::max(), -1};
  const auto look_up = [&](std::size_t i) {
    const FlatMap::Value* found = model_.merge(work_[i].id, work_[i + 1].id);
    return found == nullptr ? kNone : *found;
  };
  pairs_.clear();  // pairs_[i] is the merge of work_[i] with work_[i + 1]
  for (std::size_t i = 0; i + 1 < work_.size(); ++i) pairs_.push_back(look_up(i));
  while (!pairs_.empty()) {
    const auto best =
        std::min_element(pairs_.begin(), pairs_.end(),
                         [](const auto& a, const auto& b) { return a.first < b.first; });
    if (best->second < 0) break;
    const auto i = static_cast<std::size_t>(best - pairs_.begin());
    work_[i] = {best->second, work_[i].size + work_[i + 1].size};
    work_.erase(work_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    pairs_.erase(best);
    if (i > 0) pairs_[i - 1] = look_up(i - 1);
    if (i < pairs_.size()) pairs_[i] = look_up(i);
  }
}

namespace {

/// Heap order: the candidate to merge first is on top.
constexpr auto kLater = [](const auto& a, const auto& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
};

}  // namespace

void BpeEncoder::consider(std::int32_t at) {
  const Link& left = links_[static_cast<std::size_t>(at)];
  if (left.next < 0) return;
  const std::int32_t right = links_[static_cast<std::size_t>(left.next)].symbol.id;
  if (const FlatMap::Value* found = model_.merge(left.symbol.id, right)) {
    heap_.push_back({found->first, at, left.symbol.id, right, found->second});
    std::push_heap(heap_.begin(), heap_.end(), kLater);
  }
}

void BpeEncoder::merge_by_heap() {
  const auto count = static_cast<std::int32_t>(work_.size());
  links_.clear();
  heap_.clear();
  for (std::int32_t i = 0; i < count; ++i) {
    links_.push_back({work_[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1});
  }
  const auto link = [&](std::int32_t at) -> Link& { return links_[static_cast<std::size_t>(at)]; };
  for (std::int32_t i = 0; i + 1 < count; ++i) consider(i);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), kLater);
    const Candidate top = heap_.back();
    heap_.pop_back();
    Link& left = link(top.at);
    // Stale: one of the two has been merged with a neighbour since.
    if (left.symbol.id != top.left || left.next < 0 || link(left.next).symbol.id != top.right) {
      continue;
    }
    Link& right = link(left.next);
    left.symbol = {top.merged, left.symbol.size + right.symbol.size};
    right.symbol.id = -1;
    left.next = right.next;
    if (left.next >= 0) link(left.next).prev = top.at;
    if (left.prev >= 0) consider(left.prev);
    consider(top.at);
  }
  work_.clear();
  for (std::int32_t at = 0; at >= 0; at = link(at).next) work_.push_back(link(at).symbol);
}

}  // namespace moebius
