// The second part of a tokenizer: cuts the normalised text into the words that the model sees
// one by one. A new kind is one class with one function and one line in `make`.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/json.h"
#include "text/aligned_text.h"

namespace moebius {

/// Words that lie one behind the other in one buffer; none is empty.
class Words {
 public:
  void clear() { ends_.clear(), text_.clear(), origins_.clear(); }
  void add(AlignedView word) { append(word), close(); }
  /// Adds to the word that `close` will end.
  void append(AlignedView part) {
    start(part);
    text_.append(part.text);
    if (part.origins != nullptr) {
      origins_.insert(origins_.end(), part.origins, part.origins + part.size());
    }
  }
  /// Same with other bytes that stand for `part`'s first character.
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
  std::vector<Origin> origins_;
  std::vector<std::size_t> ends_;
  bool at_start_ = false;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Appends what `word` becomes to `out`.
  virtual void split(AlignedView word, Words& out) const = 0;
  /// Whether the words depend on where they stood in the original text.
  virtual bool reads_origins() const { return false; }

  /// The one under `key` of `parent`; null where there is none. Throws Error naming a type that
  /// is not supported.
  static std::unique_ptr<const PreTokenizer> load(const JsonView& parent, std::string_view key);
};

}  // namespace moebius
