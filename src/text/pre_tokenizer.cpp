#include "text/pre_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace moebius {
namespace {

class ByteLevel final : public PreTokenizer {
 public:
  explicit ByteLevel(const JsonView& part)
      : prefix_space_(part.boolean_or("add_prefix_space", true)),
        use_regex_(part.boolean_or("use_regex", true)) {}

  void split(std::string_view word, Words& out) const override {
    std::string prefixed;
    if (prefix_space_ && !word.starts_with(' ')) {
      prefixed.append(" ").append(word);
      word = prefixed;
    }
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t end = use_regex_ ? gpt2_word_end(word, at) : word.size();
      append_byte_level(out.text, word.substr(at, end - at));
      out.close();
      at = end;
    }
  }

 private:
  bool prefix_space_, use_regex_;
};

struct Span {
  std::size_t begin, end;
  bool match;
};

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// What becomes of the delimiters: Hugging Face's SplitDelimiterBehavior.
void emit(std::string_view word, const std::vector<Span>& spans, Behavior behavior, Words& out) {
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    if (behavior == Behavior::removed && span.match) continue;
    out.text.append(word.substr(span.begin, span.end - span.begin));
    if (i + 1 < spans.size()) {
      const Span& next = spans[i + 1];
      if (behavior == Behavior::contiguous && span.match == next.match) continue;
      if (behavior == Behavior::merged_with_previous && next.match && !span.match) continue;
      if (behavior == Behavior::merged_with_next && span.match && !next.match) continue;
    }
    out.close();
  }
}

class Split final : public PreTokenizer {
 public:
  explicit Split(const JsonView& part)
      : pattern_(Pattern::load(part)), invert_(part.boolean_or("invert", false)) {
    const std::string name = part.string("behavior");
    const std::vector<std::string_view> names = {"Removed", "Isolated", "MergedWithPrevious",
                                                 "MergedWithNext", "Contiguous"};
    const auto at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) part.fail_key("behavior", "is not known: " + name);
    behavior_ = static_cast<Behavior>(at - names.begin());
  }

  void split(std::string_view word, Words& out) const override {
    std::vector<Span> spans;
    std::size_t from = 0;
    const auto add = [&](std::size_t begin, std::size_t end, bool match) {
      // An empty match is none of the words, but it parts its neighbours.
      if (begin != end || match) spans.push_back({begin, end, match != invert_});
    };
    pattern_.each_match(word, [&](std::size_t begin, std::size_t end) {
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

class Digits final : public PreTokenizer {
 public:
  explicit Digits(const JsonView& part)
      : behavior_(part.boolean_or("individual_digits", false) ? Behavior::isolated
                                                              : Behavior::contiguous) {}

  void split(std::string_view word, Words& out) const override {
    std::vector<Span> spans;
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t begin = at;
      const bool number = char_class(next_code_point(word, at)) == CharClass::number;
      if (!number && !spans.empty() && !spans.back().match) {
        spans.back().end = at;
      } else {
        spans.push_back({begin, at, number});
      }
    }
    emit(word, spans, behavior_, out);
  }

 private:
  Behavior behavior_;
};

std::unique_ptr<const PreTokenizer> make(const JsonView& part);

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(const JsonView& part) {
    for (const JsonView& element : part.objects("pretokenizers")) parts_.push_back(make(element));
  }

  void split(std::string_view word, Words& out) const override {
    Words from, to;
    from.assign(word);
    for (const auto& part : parts_) {
      to.clear();
      for (std::size_t i = 0; i < from.size(); ++i) part->split(from[i], to);
      std::swap(from, to);
    }
    for (std::size_t i = 0; i < from.size(); ++i) out.add(from[i]);
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizer>> parts_;
};

std::unique_ptr<const PreTokenizer> make(const JsonView& part) {
  const std::string type = part.string("type");
  if (type == "Sequence") return std::make_unique<Sequence>(part);
  if (type == "ByteLevel") return std::make_unique<ByteLevel>(part);
  if (type == "Split") return std::make_unique<Split>(part);
  if (type == "Digits") return std::make_unique<Digits>(part);
  fail("{}: a pre-tokenizer of type \"{}\" is not supported", part.where(), type);
}

}  // namespace

std::unique_ptr<const PreTokenizer> PreTokenizer::load(const JsonView& parent,
                                                       std::string_view key) {
  return parent.has(key) ? make(parent.object(key)) : nullptr;
}

}  // namespace moebius
