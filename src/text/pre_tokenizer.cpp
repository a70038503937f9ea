#include "text/pre_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/unicode.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/metaspace.h"
#include "text/regex.h"
#include "text/split_behavior.h"

namespace moebius {
namespace {

class ByteLevel final : public PreTokenizer {
 public:
  explicit ByteLevel(const JsonView& part)
      : prefix_space_(part.boolean_or("add_prefix_space", true)),
        use_regex_(part.boolean_or("use_regex", true)) {}

  void split(AlignedView word, Words& out) const override {
    if (!prefix_space_ || word.text.starts_with(' ')) return split_prefixed(word, out);
    const AlignedText prefixed(" ", word);
    split_prefixed(prefixed.view(), out);
  }

 private:
  void split_prefixed(AlignedView word, Words& out) const {
    std::string bytes;
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t end = use_regex_ ? gpt2_word_end(word.text, at) : word.size();
      // Without origins a word is appended as a whole, with them byte by byte.
      const std::size_t step = word.origins == nullptr ? end - at : 1;
      for (; at < end; at += step) {
        bytes.clear();
        append_byte_level(bytes, word.text.substr(at, step));
        out.append(bytes, word.sub(at, at + step));
      }
      out.close();
    }
  }
  bool prefix_space_, use_regex_;
};

class Split final : public PreTokenizer {
 public:
  explicit Split(const JsonView& part)
      : pattern_(Pattern::load(part)),
        invert_(part.boolean_or("invert", false)),
        behavior_(behavior_of(part, "behavior")) {}

  void split(AlignedView word, Words& out) const override {
    std::vector<Span> spans;
    std::size_t from = 0;
    const auto add = [&](std::size_t begin, std::size_t end, bool match) {
      // An empty match makes no word, but separates its neighbours.
      if (begin != end || match) spans.push_back({begin, end, match != invert_});
    };
    pattern_.each_match(word.text, [&](std::size_t begin, std::size_t end) {
      add(from, begin, false);
      add(begin, end, true);
      from = end;
    });
    add(from, word.size(), false);
    emit(word, spans, behavior_, out);
  }

 private:
  Pattern pattern_;
  bool invert_;
  Behavior behavior_;
};

/// Splits at delimiters that are single characters.
class SplitAt final : public PreTokenizer {
 public:
  SplitAt(std::function<bool(char32_t)> is_delimiter, Behavior behavior)
      : is_delimiter_(std::move(is_delimiter)), behavior_(behavior) {}
  void split(AlignedView word, Words& out) const override {
    split_at(word, is_delimiter_, behavior_, out);
  }

 private:
  std::function<bool(char32_t)> is_delimiter_;
  Behavior behavior_;
};

/// `\w+|[^\w\s]+`
class Whitespace final : public PreTokenizer {
 public:
  void split(AlignedView word, Words& out) const override {
    enum { none, word_char, other } last = none;
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t begin = at;
      const char32_t c = next_code_point(word.text, at);
      const auto kind = is_word_char(c) ? word_char : is_white_space(c) ? none : other;
      if (kind != last) out.close();
      if (kind != none) out.append(word.sub(begin, at));
      last = kind;
    }
    out.close();
  }
};

class MetaspaceSplit final : public PreTokenizer {
 public:
  explicit MetaspaceSplit(const JsonView& part)
      : options_(part), split_(part.boolean_or("split", true)) {}

  bool reads_origins() const override { return options_.scheme == Metaspace::Scheme::first; }

  void split(AlignedView word, Words& out) const override {
    AlignedText text = AlignedText::like(word);
    const bool prepend = options_.scheme == Metaspace::Scheme::always ||
                         (options_.scheme == Metaspace::Scheme::first && word.at_start);
    if (prepend && !word.text.starts_with(' ') && !word.text.starts_with(options_.replacement)) {
      text.append(options_.replacement, word.first_origin());
    }
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t end = std::min(word.text.find(' ', at), word.size());
      text.append(word.sub(at, end));
      at = end;
      if (at == word.size()) break;
      text.append(options_.replacement, word.sub(at, at + 1).first_origin());
      ++at;
    }
    if (!split_) return out.add(text.view());
    std::size_t at = 0;
    const char32_t replacement = next_code_point(options_.replacement, at);
    split_at(
        text.view(), [=](char32_t c) { return c == replacement; }, Behavior::merged_with_next, out);
  }

 private:
  Metaspace options_;
  bool split_;
};

std::unique_ptr<const PreTokenizer> make(const JsonView& part);

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(const JsonView& part) {
    for (const JsonView& element : part.objects("pretokenizers")) parts_.push_back(make(element));
  }

  bool reads_origins() const override {
    return std::any_of(parts_.begin(), parts_.end(),
                       [](const auto& part) { return part->reads_origins(); });
  }

  void split(AlignedView word, Words& out) const override {
    if (parts_.empty()) return out.add(word);
    Words from, to;
    from.add(word);
    for (std::size_t i = 0; i + 1 < parts_.size(); ++i) {
      to.clear();
      for (std::size_t w = 0; w < from.size(); ++w) parts_[i]->split(from[w], to);
      std::swap(from, to);
    }
    for (std::size_t w = 0; w < from.size(); ++w) parts_.back()->split(from[w], out);
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizer>> parts_;
};

std::unique_ptr<const PreTokenizer> make_digits(const JsonView& part) {
  const bool alone = part.boolean_or("individual_digits", false);
  return std::make_unique<SplitAt>(is_numeric, alone ? Behavior::isolated : Behavior::contiguous);
}

std::unique_ptr<const PreTokenizer> make_delimiter(const JsonView& part) {
  const std::string text = part.string("delimiter");
  std::size_t at = 0;
  const char32_t delimiter = text.empty() ? 0 : next_code_point(text, at);
  if (text.empty() || at != text.size()) part.fail_key("delimiter", "is not a single character");
  return std::make_unique<SplitAt>([=](char32_t c) { return c == delimiter; }, Behavior::removed);
}

std::unique_ptr<const PreTokenizer> make(const JsonView& part) {
  const std::string type = part.string("type");
  if (type == "Sequence") return std::make_unique<Sequence>(part);
  if (type == "ByteLevel") return std::make_unique<ByteLevel>(part);
  if (type == "Split") return std::make_unique<Split>(part);
  if (type == "Digits") return make_digits(part);
  if (type == "Metaspace") return std::make_unique<MetaspaceSplit>(part);
  if (type == "Whitespace") return std::make_unique<Whitespace>();
  if (type == "WhitespaceSplit") {
    return std::make_unique<SplitAt>(is_white_space, Behavior::removed);
  }
  if (type == "Punctuation") {
    const Behavior behavior =
        part.has("behavior") ? behavior_of(part, "behavior") : Behavior::isolated;
    return std::make_unique<SplitAt>(is_punctuation, behavior);
  }
  if (type == "CharDelimiterSplit") return make_delimiter(part);
  fail("{}: a pre-tokenizer of type \"{}\" is not supported", part.where(), type);
}

}  // namespace

std::unique_ptr<const PreTokenizer> PreTokenizer::load(const JsonView& parent,
                                                       std::string_view key) {
  return parent.has(key) ? make(parent.object(key)) : nullptr;
}

}  // namespace moebius
