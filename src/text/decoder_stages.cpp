#include "text/decoder_stages.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/byte_level.h"

namespace moebius {
namespace {

/// Base of stages that join all pieces.
class Fusing : public PieceSink {
 public:
  explicit Fusing(PieceSink& next) : next_(next) {}
  void finish() override {
    emit("", true);
    next_.finish();
  }

 protected:
  void emit(std::string_view bytes, bool ends = false) {
    next_.push(bytes, first_, ends);
    first_ = false;
  }
  bool is_first() const { return first_; }

 private:
  PieceSink& next_;
  bool first_ = true;
};

class ByteLevel final : public Fusing {
 public:
  using Fusing::Fusing;
  void push(std::string_view fragment, bool, bool ends) override {
    piece_ += fragment;
    if (!ends) return;
    emit(decoded());
    piece_.clear();
  }

 private:
  /// A piece with a character outside the alphabet, such as an added token, is left unchanged.
  std::string decoded() const {
    std::string out;
    if (find_invalid_utf8(piece_) != npos) return piece_;
    for (std::size_t at = 0; at < piece_.size();) {
      const int byte = byte_of_char(next_code_point(piece_, at));
      if (byte < 0) return piece_;
      out.push_back(static_cast<char>(byte));
    }
    return out;
  }
  std::string piece_;
};

class Fuse final : public Fusing {
 public:
  Fuse(std::string between, PieceSink& next) : Fusing(next), between_(std::move(between)) {}
  void push(std::string_view fragment, bool begins, bool) override {
    if (begins && !is_first()) emit(between_);
    emit(fragment);
  }

 private:
  std::string between_;
};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/// The byte that a token such as `<0xE2>` represents, -1 for other tokens.
int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = hex_digit(token[3]), low = hex_digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

class ByteFallback final : public PieceSink {
 public:
  explicit ByteFallback(PieceSink& next) : next_(next) {}
  void push(std::string_view fragment, bool, bool ends) override {
    piece_ += fragment;
    if (!ends) return;
    const int byte = byte_of_token(piece_);
    if (byte >= 0) {
      const char c = static_cast<char>(byte);
      next_.push({&c, 1}, !in_bytes_, false);
      in_bytes_ = true;
    } else {
      close();
      next_.push(piece_, true, true);
    }
    piece_.clear();
  }
  void finish() override {
    close();
    next_.finish();
  }

 private:
  void close() {
    if (in_bytes_) next_.push("", false, true);
    in_bytes_ = false;
  }
  PieceSink& next_;
  std::string piece_;
  bool in_bytes_ = false;
};

class Replace final : public PieceSink {
 public:
  Replace(const Pattern& pattern, std::string content, PieceSink& next)
      : pattern_(pattern), content_(std::move(content)), next_(next) {}

  void push(std::string_view fragment, bool begins, bool ends) override {
    if (begins && ends) {
      next_.push(replaced(fragment), true, true);
      return;
    }
    held_ += fragment;
    first_ = first_ || begins;
    const std::size_t ready = ends ? held_.size() : decided();
    next_.push(replaced(std::string_view(held_).substr(0, ready)), first_, ends);
    held_.erase(0, ready);
    first_ = false;
  }
  void finish() override { next_.finish(); }

 private:
  /// Number of held bytes that no later byte can make part of a match. 0 for a regular expression;
  /// for a literal, all but the longest proper prefix of it that the held bytes end with.
  std::size_t decided() const {
    const std::string& literal = pattern_.text();
    if (literal.empty()) return 0;
    std::size_t after = 0;  // end of the last match
    for (std::size_t at; (at = held_.find(literal, after)) != std::string::npos;) {
      after = at + literal.size();
    }
    std::size_t tail = std::min(literal.size() - 1, held_.size() - after);
    while (tail > 0 && !std::string_view(literal).starts_with(
                           std::string_view(held_).substr(held_.size() - tail))) {
      --tail;
    }
    return held_.size() - tail;
  }
  /// Text that is not well-formed UTF-8, as after ids that cut a character, is not matched against
  /// a regular expression.
  std::string replaced(std::string_view text) const {
    if (pattern_.text().empty() && find_invalid_utf8(text) != npos) return std::string(text);
    return pattern_.replace(text, content_);
  }

  const Pattern& pattern_;
  std::string content_;
  PieceSink& next_;
  std::string held_;
  bool first_ = false;
};

class Strip final : public PieceSink {
 public:
  Strip(std::string content, std::size_t start, std::size_t stop, PieceSink& next)
      : content_(std::move(content)), start_(start), stop_(stop), next_(next) {}

  void push(std::string_view fragment, bool begins, bool ends) override {
    if (begins) left_ = start_, first_ = true;
    held_ += fragment;
    std::size_t off = 0;
    for (; left_ > 0 && std::string_view(held_).substr(off).starts_with(content_); --left_) {
      off += content_.size();
    }
    held_.erase(0, off);
    if (left_ > 0) {
      const bool undecided = held_.empty() || content_.starts_with(held_);
      if (undecided && !ends) return;
      left_ = 0;
    }
    std::size_t ready = held_.size();
    if (ends) {
      for (std::size_t i = 0; i < stop_ && held_.ends_with(content_); ++i) {
        held_.resize(held_.size() - content_.size());
      }
      ready = held_.size();
    } else {
      ready -= std::min(ready, stop_ * content_.size());
    }
    next_.push(std::string_view(held_).substr(0, ready), first_, ends);
    first_ = false;
    held_.erase(0, ready);
  }
  void finish() override { next_.finish(); }

 private:
  std::string content_;
  std::size_t start_, stop_;
  PieceSink& next_;
  std::string held_;
  std::size_t left_ = 0;  // times that `content_` may still be removed from the front
  bool first_ = true;
};

}  // namespace

std::unique_ptr<PieceSink> make_byte_level_stage(PieceSink& next) {
  return std::make_unique<ByteLevel>(next);
}

std::unique_ptr<PieceSink> make_byte_fallback_stage(PieceSink& next) {
  return std::make_unique<ByteFallback>(next);
}

std::unique_ptr<PieceSink> make_fuse_stage(std::string between, PieceSink& next) {
  return std::make_unique<Fuse>(std::move(between), next);
}

std::unique_ptr<PieceSink> make_replace_stage(const Pattern& pattern, std::string content,
                                              PieceSink& next) {
  return std::make_unique<Replace>(pattern, std::move(content), next);
}

std::unique_ptr<PieceSink> make_strip_stage(std::string content, std::size_t start,
                                            std::size_t stop, PieceSink& next) {
  return std::make_unique<Strip>(std::move(content), start, stop, next);
}

}  // namespace moebius
