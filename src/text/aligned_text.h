// A text that the parts of a tokenizer transform. Where offsets are requested, it holds for each of
// its bytes the range of the original text that the byte came from (its origin). The parts need not
// know whether it does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace moebius {

/// Bytes [begin, end) of the original text. All bytes of one character have the same range.
struct ByteRange {
  std::uint32_t begin = 0, end = 0;
};

/// A view of a part of an AlignedText, valid as long as that is not changed.
struct AlignedView {
  std::string_view text;
  const ByteRange* origins = nullptr;  // one per byte; null if they are not kept
  bool at_start = false;               // the part begins where the original text begins

  std::size_t size() const { return text.size(); }
  AlignedView sub(std::size_t begin, std::size_t end) const {
    if (origins == nullptr) return {text.substr(begin, end - begin), nullptr, at_start && !begin};
    return {text.substr(begin, end - begin), origins + begin,
            begin < end && origins[begin].begin == 0};
  }
  /// Origin of the first byte; an empty range at 0 if origins are not kept.
  ByteRange first_origin() const { return origins == nullptr ? ByteRange{} : origins[0]; }
};

class AlignedText {
 public:
  /// A copy of `view`, with origins if `view` has them. `base`: offset in the original text at
  /// which the view begins.
  explicit AlignedText(AlignedView view, std::uint32_t base = 0)
      : base_(base), tracked_(view.origins != nullptr), at_start_(view.at_start) {
    append(view);
    limit_ = most_grown(view.size());
  }
  /// `prefix`, with the origin of the first character of `word`, followed by `word`, which is not
  /// empty.
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
    static constexpr ByteRange kNowhere;
    if (!tracked_) return {text_, nullptr, at_start_};
    if (text_.empty()) return {text_, &kNowhere, at_start_};
    return AlignedView{text_, origins_.data(), at_start_}.sub(0, text_.size());
  }
  /// Origin of bytes that are inserted after the first `at` bytes: that of the byte before them.
  ByteRange origin_before(std::size_t at) const {
    return at == 0 ? ByteRange{base_, base_} : origin_at(at - 1);
  }
  ByteRange origin_at(std::size_t at) const { return tracked_ ? origins_[at] : ByteRange{}; }

  /// Throw Error if the text has grown far beyond the original one, as it would if a file's parts
  /// replaced "a" by "aa" many times.
  void append(AlignedView part) {
    grow(part.size());
    text_.append(part.text);
    if (tracked_) origins_.insert(origins_.end(), part.origins, part.origins + part.size());
  }
  void append(std::string_view bytes, ByteRange origin) {
    grow(bytes.size());
    text_.append(bytes);
    if (tracked_) origins_.insert(origins_.end(), bytes.size(), origin);
  }

 private:
  static constexpr std::size_t most_grown(std::size_t size) { return 4096 + 64 * size; }
  void grow(std::size_t bytes) const {
    if (text_.size() + bytes > limit_)
      fail("the tokenizer expands a text to more than {} bytes", limit_);
  }

  std::string text_;
  std::size_t limit_ = SIZE_MAX;
  std::vector<ByteRange> origins_;
  std::uint32_t base_ = 0;
  bool tracked_ = false, at_start_ = false;
};

/// Origins of an unchanged text, one per byte.
std::vector<ByteRange> identity_origins(std::string_view text);

}  // namespace moebius
