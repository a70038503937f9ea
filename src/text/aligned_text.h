// A text on its way through a tokenizer and, where offsets are asked for, the place in the original
// text that each of its bytes came from. The parts of a tokenizer work on it one way; whether
// origins are kept is the text's own affair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace moebius {

/// Bytes [begin, end) of the original text. All bytes of a character have the same.
struct Origin {
  std::uint32_t begin = 0, end = 0;
};

/// A part of an AlignedText, valid as long as that doesn't change.
struct AlignedView {
  std::string_view text;
  const Origin* origins = nullptr;  // one per byte; null where they aren't kept
  bool at_start = false;            // whether it begins where the original text begins

  std::size_t size() const { return text.size(); }
  AlignedView sub(std::size_t begin, std::size_t end) const {
    if (origins == nullptr) return {text.substr(begin, end - begin), nullptr, at_start && !begin};
    return {text.substr(begin, end - begin), origins + begin,
            begin < end && origins[begin].begin == 0};
  }
  /// Of the first byte; nowhere where origins aren't kept.
  Origin first_origin() const { return origins == nullptr ? Origin{} : origins[0]; }
};

class AlignedText {
 public:
  /// A copy, which keeps origins if `view` has them. `base` is where the original text of it
  /// begins.
  explicit AlignedText(AlignedView view, std::uint32_t base = 0)
      : base_(base), tracked_(view.origins != nullptr), at_start_(view.at_start) {
    append(view);
    limit_ = most_grown(view.size());
  }
  /// `prefix`, which gets the origin of the first character, and `word`, which isn't empty.
  AlignedText(std::string_view prefix, AlignedView word)
      : tracked_(word.origins != nullptr), at_start_(word.at_start) {
    append(prefix, word.first_origin());
    append(word);
  }
  /// An empty text that keeps origins if `view` has them.
  static AlignedText like(AlignedView view, std::uint32_t base = 0) {
    AlignedText out({{}, view.origins, view.at_start}, base);
    out.text_.reserve(view.size());
    out.limit_ = most_grown(view.size());
    return out;
  }
  /// An empty text that is to replace `other`.
  static AlignedText replacing(const AlignedText& other) {
    AlignedText out = like(other.view(), other.base_);
    out.limit_ = other.limit_;
    return out;
  }

  const std::string& text() const { return text_; }
  AlignedView view() const {
    static constexpr Origin kNowhere;
    if (!tracked_) return {text_, nullptr, at_start_};
    if (text_.empty()) return {text_, &kNowhere, at_start_};
    return AlignedView{text_, origins_.data(), at_start_}.sub(0, text_.size());
  }
  /// What bytes have that are put in behind the first `at` of the text: their predecessor's.
  Origin origin_before(std::size_t at) const {
    return at == 0 ? Origin{base_, base_} : origin_at(at - 1);
  }
  Origin origin_at(std::size_t at) const { return tracked_ ? origins_[at] : Origin{}; }

  /// Throw Error if the text outgrows the one it began as by more than any honest part makes it,
  /// which one that replaces a by aa twenty times would do.
  void append(AlignedView part) {
    grow(part.size());
    text_.append(part.text);
    if (tracked_) origins_.insert(origins_.end(), part.origins, part.origins + part.size());
  }
  void append(std::string_view bytes, Origin origin) {
    grow(bytes.size());
    text_.append(bytes);
    if (tracked_) origins_.insert(origins_.end(), bytes.size(), origin);
  }

 private:
  static constexpr std::size_t most_grown(std::size_t size) { return 4096 + 64 * size; }
  void grow(std::size_t bytes) const {
    if (text_.size() + bytes > limit_) fail("the tokenizer blows a text up to {} bytes", limit_);
  }

  std::string text_;
  std::size_t limit_ = SIZE_MAX;
  std::vector<Origin> origins_;
  std::uint32_t base_ = 0;
  bool tracked_ = false, at_start_ = false;
};

/// One origin per byte of a text that was not changed yet.
std::vector<Origin> identity_origins(std::string_view text);

}  // namespace moebius
