#include "text/bpe_encoder.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace moebius {
namespace {

constexpr std::size_t kLongWord = 128;   // bytes; a longer one is cut before it is merged
constexpr std::size_t kScanLimit = 48;   // symbols; where the heap begins to win
constexpr std::size_t kCachedPart = 32;  // symbols

/// The symbols as the bytes that the cache takes for a key.
std::string_view key_of(std::span<const std::int32_t> symbols) {
  return {reinterpret_cast<const char*>(symbols.data()), symbols.size_bytes()};
}

}  // namespace

void BpeEncoder::encode(std::string_view word, std::vector<std::int32_t>& out) {
  if (model_.ignore_merges()) {
    if (const auto id = model_.vocabulary().id_of(word)) return out.push_back(*id);
  }
  if (word.size() > kLongWord) return encode_text(word, out);
  const WordCache::Place place = words_.find(word);
  if (place.found) {
    out.insert(out.end(), place.ids.begin(), place.ids.end());
    return;
  }
  const std::size_t before = out.size();
  encode_word(word, out);
  words_.insert(place, word, std::span(out).subspan(before));
}

void BpeEncoder::encode_word(std::string_view word, std::vector<std::int32_t>& out) {
  word_symbols_.clear();
  model_.each_symbol(word,
                     [&](std::int32_t id, char32_t, char32_t) { word_symbols_.push_back(id); });
  merge(word_symbols_, out);
}

void BpeEncoder::encode_text(std::string_view word, std::vector<std::int32_t>& out) {
  text_symbols_.clear();
  char32_t last_of_previous = 0;
  const auto finish_part = [&] {
    if (text_symbols_.size() > kCachedPart) {
      merge(text_symbols_, out);
    } else if (!text_symbols_.empty()) {
      const std::string_view key = key_of(text_symbols_);
      const WordCache::Place place = parts_.find(key);
      if (place.found) {
        out.insert(out.end(), place.ids.begin(), place.ids.end());
      } else {
        const std::size_t before = out.size();
        merge(text_symbols_, out);
        parts_.insert(place, key, std::span(out).subspan(before));
      }
    }
    text_symbols_.clear();
  };
  model_.each_symbol(word, [&](std::int32_t id, char32_t first, char32_t last) {
    if (!text_symbols_.empty() && !model_.may_join(last_of_previous, first)) finish_part();
    text_symbols_.push_back(id);
    last_of_previous = last;
  });
  finish_part();
}

void BpeEncoder::merge(std::span<const std::int32_t> symbols, std::vector<std::int32_t>& out) {
  if (symbols.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    fail("a word of {} characters is too long to tokenize", symbols.size());
  }
  work_.assign(symbols.begin(), symbols.end());
  if (work_.size() <= kScanLimit) {
    merge_by_scan(out);
  } else {
    merge_by_heap(out);
  }
}

void BpeEncoder::merge_by_scan(std::vector<std::int32_t>& out) {
  constexpr FlatMap::Value kNone{std::numeric_limits<std::int32_t>::max(), -1};
  const auto look_up = [&](std::size_t i) {
    const FlatMap::Value* found = model_.merge(work_[i], work_[i + 1]);
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
    work_[i] = best->second;
    work_.erase(work_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    pairs_.erase(best);
    if (i > 0) pairs_[i - 1] = look_up(i - 1);
    if (i < pairs_.size()) pairs_[i] = look_up(i);
  }
  out.insert(out.end(), work_.begin(), work_.end());
}

namespace {

/// Heap order: the candidate that is merged first comes out first.
constexpr auto kLater = [](const auto& a, const auto& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
};

}  // namespace

void BpeEncoder::consider(std::int32_t at) {
  const Symbol& left = symbols_[static_cast<std::size_t>(at)];
  if (left.next < 0) return;
  const std::int32_t right = symbols_[static_cast<std::size_t>(left.next)].id;
  if (const FlatMap::Value* found = model_.merge(left.id, right)) {
    heap_.push_back({found->first, at, left.id, right, found->second});
    std::push_heap(heap_.begin(), heap_.end(), kLater);
  }
}

void BpeEncoder::merge_by_heap(std::vector<std::int32_t>& out) {
  const auto count = static_cast<std::int32_t>(work_.size());
  symbols_.clear();
  heap_.clear();
  for (std::int32_t i = 0; i < count; ++i) {
    symbols_.push_back({work_[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1});
  }
  const auto symbol = [&](std::int32_t at) -> Symbol& {
    return symbols_[static_cast<std::size_t>(at)];
  };
  for (std::int32_t i = 0; i + 1 < count; ++i) consider(i);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), kLater);
    const Candidate top = heap_.back();
    heap_.pop_back();
    Symbol& left = symbol(top.at);
    // Stale: one of the two was merged with a neighbour in the meantime.
    if (left.id != top.left || left.next < 0 || symbol(left.next).id != top.right) continue;
    Symbol& right = symbol(left.next);
    left.id = top.merged;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbol(left.next).prev = top.at;
    if (left.prev >= 0) consider(left.prev);
    consider(top.at);
  }
  for (std::int32_t at = 0; at >= 0; at = symbol(at).next) out.push_back(symbol(at).id);
}

}  // namespace moebius
