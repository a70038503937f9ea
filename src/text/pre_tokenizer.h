// Pre-tokenizers: the second part of a tokenizer, which splits the normalised text into the words
// that the model encodes one by one. A new type is a class with one function and a line in `make`.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/json.h"
#include "text/aligned_text.h"

namespace moebius {

/// A list of non-empty words, stored consecutively in one buffer.
class Words {
 public:
  void clear() { ends_.clear(), text_.clear(), origins_.clear(); }
  void add(AlignedView word) { append(word), close(); }
  /// Appends to the last word, which is open until `close`.
  void append(AlignedView part) {
    start(part);
    text_.append(part.text);
    if (part.origins != nullptr) {
      origins_.insert(origins_.end(), part.origins, part.origins + part.size());
    }
  }
  /// The same with other bytes, which get the origin of the first character of `part`.
  void append(std::string_view bytes, AlignedView part) {
    start(part);
    text_.append(bytes);
    if (part.origins != nullptr) {
      origins_.insert(origins_.end(), bytes.size(), part.first_origin());
    }
  }
  void close() {
    if (text_.size() > (ends_.empty() ? 0 : ends_.back())) ends_.push_back(text_.size());
  }
  std::size_t size() const { return ends_.size(); }
  AlignedView operator[](std::size_t i) const {
    const AlignedView all{text_, origins_.empty() ? nullptr : origins_.data(), at_start_};
    return all.sub(i == 0 ? 0 : ends_[i - 1], ends_[i]);
  }

 private:
  void start(AlignedView part) {
    if (text_.empty()) at_start_ = part.at_start;
  }
  std::string text_;
  std::vector<ByteRange> origins_;
  std::vector<std::size_t> ends_;
  bool at_start_ = false;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Appends the words that `word` is split into to `out`.
  virtual void split(AlignedView word, Words& out) const = 0;
  /// Whether the result depends on the place of a word in the original text.
  virtual bool reads_origins() const { return false; }

  /// Reads the pre-tokenizer under `key` of `parent`; null if there is none. Throws Error naming a
  /// type that is not supported.
  static std::unique_ptr<const PreTokenizer> load(const JsonView& parent, std::string_view key);
};

}  // namespace moebius
