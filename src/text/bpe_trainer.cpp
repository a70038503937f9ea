// Training of a byte-level BPE vocabulary. Distinct words are counted once; a merge then visits
// only the words that hold its pair and updates the counts of neighbouring pairs. The most frequent
// pair is taken from a heap whose entries may be stale: an entry is checked when it reaches the
// top, and pushed again with the current count if that has changed.
#include "text/bpe_trainer.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <queue>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/flat_map.h"

namespace moebius {
namespace {

using Id = std::uint32_t;
using Pair = std::pair<Id, Id>;

std::uint64_t key_of(Pair pair) {
  return FlatMap::pair_key(pair.first, pair.second);
}
Pair pair_of(std::uint64_t key) {
  return {static_cast<Id>(key >> 32), static_cast<Id>(key)};
}

struct Word {
  std::vector<Id> symbols;
  std::int64_t count;
};

/// A pair that may be merged, and the indices of the words in which it was formed.
struct Candidate {
  std::int64_t count;
  Pair pair;
  std::vector<std::uint32_t> words;

  /// Heap order: the more frequent pair first, then the one with the lower ids.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

class Trainer {
 public:
  Trainer(std::span<const std::string> special_tokens) {
    for (const std::string& token : special_tokens) add_token(token);
    specials_ = static_cast<int>(tokens_.size());
    // Ids follow the order of the characters that represent the bytes.
    std::vector<std::pair<char32_t, unsigned>> alphabet;
    for (unsigned byte = 0; byte < 256; ++byte) {
      alphabet.emplace_back(char_of_byte(static_cast<unsigned char>(byte)), byte);
    }
    std::sort(alphabet.begin(), alphabet.end());
    for (const auto& [c, byte] : alphabet) {
      std::string token;
      append_utf8(token, c);
      byte_ids_[byte] = add_token(token);
    }
  }

  int size() const { return static_cast<int>(tokens_.size()); }

  void count_words(std::span<const std::string> documents) {
    std::unordered_map<std::string_view, std::int64_t> counts;
    for (std::size_t i = 0; i < documents.size(); ++i) {
      const std::string_view text = documents[i];
      check_utf8(text, fmt::format("document {}", i + 1));
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = gpt2_word_end(text, at);
        ++counts[text.substr(at, end - at)];
        at = end;
      }
    }
    for (const auto& [text, count] : counts) {
      Word word{{}, count};
      for (const char c : text) word.symbols.push_back(byte_ids_[static_cast<unsigned char>(c)]);
      words_.push_back(std::move(word));
    }
    for (std::uint32_t i = 0; i < words_.size(); ++i) {
      const std::vector<Id>& symbols = words_[i].symbols;
      for (std::size_t k = 0; k + 1 < symbols.size(); ++k) {
        change({symbols[k], symbols[k + 1]}, 1, i);
      }
    }
    queue_formed();
  }

  /// Applies the most frequent merge; false if no pair is left.
  bool merge_next() {
    while (!queue_.empty()) {
      Candidate top = queue_.top();
      queue_.pop();
      const std::int64_t count = pair_counts_[key_of(top.pair)];
      if (count != top.count) {
        top.count = count;
        queue_.push(std::move(top));
        continue;
      }
      if (count < 1) return false;
      const Id merged = add_token(tokens_[top.pair.first] + tokens_[top.pair.second]);
      merges_.push_back(top.pair);
      for (const std::uint32_t i : top.words) merge_in_word(i, top.pair, merged);
      queue_formed();
      return true;
    }
    return false;
  }

  std::string to_json() const;

 private:
  Id add_token(const std::string& token) {
    const auto [entry, fresh] = ids_.emplace(token, static_cast<Id>(tokens_.size()));
    if (fresh) tokens_.push_back(token);
    return entry->second;
  }

  void change(Pair pair, std::int64_t times, std::uint32_t word) {
    pair_counts_[key_of(pair)] += times * words_[word].count;
    if (times < 0) return;
    std::vector<std::uint32_t>& words = formed_[key_of(pair)];
    if (words.empty() || words.back() != word) words.push_back(word);
  }

  void merge_in_word(std::uint32_t index, Pair pair, Id merged) {
    std::vector<Id>& symbols = words_[index].symbols;
    std::size_t kept = 0;  // symbols[0, kept) is the new word so far
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      const bool found = i + 1 < symbols.size() && Pair(symbols[i], symbols[i + 1]) == pair;
      if (!found) {
        symbols[kept++] = symbols[i];
        continue;
      }
      if (kept > 0) {
        change({symbols[kept - 1], pair.first}, -1, index);
        change({symbols[kept - 1], merged}, 1, index);
      }
      ++i;
      if (i + 1 < symbols.size()) {
        change({pair.second, symbols[i + 1]}, -1, index);
        change({merged, symbols[i + 1]}, 1, index);
      }
      symbols[kept++] = merged;
    }
    symbols.resize(kept);
  }

  void queue_formed() {
    for (auto& [key, words] : formed_) {
      const std::int64_t count = pair_counts_[key];
      if (count > 0) queue_.push({count, pair_of(key), std::move(words)});
    }
    formed_.clear();
  }

  std::vector<std::string> tokens_;
  std::unordered_map<std::string, Id> ids_;
  int specials_ = 0;
  Id byte_ids_[256];
  std::vector<Word> words_;
  std::unordered_map<std::uint64_t, std::int64_t> pair_counts_;
  std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> formed_;  // since the last merge
  std::priority_queue<Candidate> queue_;
  std::vector<Pair> merges_;
};

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump();
}

/// The tokenizer.json, with one entry of the vocabulary and of the merges per line.
std::string Trainer::to_json() const {
  std::string added, vocab, merges;
  const auto separate = [](std::string& list) { list += list.empty() ? "\n      " : ",\n      "; };
  for (int id = 0; id < specials_; ++id) {
    separate(added);
    added += fmt::format(
        "{{\"id\": {}, \"content\": {}, \"single_word\": false, \"lstrip\": false, "
        "\"rstrip\": false, \"normalized\": false, \"special\": true}}",
        id, quoted(tokens_[static_cast<std::size_t>(id)]));
  }
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    separate(vocab);
    vocab += fmt::format("{}: {}", quoted(tokens_[id]), id);
  }
  // A pair that was merged twice, to tokens of the same text, is listed at its later place.
  std::unordered_map<std::uint64_t, std::size_t> last;
  for (std::size_t i = 0; i < merges_.size(); ++i) last[key_of(merges_[i])] = i;
  for (std::size_t i = 0; i < merges_.size(); ++i) {
    const auto& [left, right] = merges_[i];
    if (last[key_of(merges_[i])] != i) continue;
    separate(merges);
    merges += fmt::format("[{}, {}]", quoted(tokens_[left]), quoted(tokens_[right]));
  }
  const std::string_view byte_level =
      R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";
  return fmt::format(R"({{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": [{}],
  "normalizer": null,
  "pre_tokenizer": {},
  "post_processor": null,
  "decoder": {},
  "model": {{
    "type": "BPE",
    "dropout": null,
    "unk_token": null,
    "continuing_subword_prefix": null,
    "end_of_word_suffix": null,
    "fuse_unk": false,
    "byte_fallback": false,
    "ignore_merges": false,
    "vocab": {{{}}},
    "merges": [{}]
  }}
}}
)",
                     added, byte_level, byte_level, vocab, merges);
}

}  // namespace

std::string train_byte_level_bpe(std::span<const std::string> documents, int vocab_size,
                                 std::span<const std::string> special_tokens,
                                 const std::function<void(int done, int total)>& progress) {
  Trainer trainer(special_tokens);
  if (vocab_size < trainer.size()) {
    fail(
        "a vocabulary of {} tokens has no room for the {} special tokens and 256 bytes: ask for "
        "at least {}",
        vocab_size, trainer.size() - 256, trainer.size());
  }
  trainer.count_words(documents);
  while (trainer.size() < vocab_size && trainer.merge_next()) {
    if (progress) progress(trainer.size(), vocab_size);
  }
  return trainer.to_json();
}

}  // namespace moebius
