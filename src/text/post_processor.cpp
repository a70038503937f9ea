#include "text/post_processor.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/unicode.h"
#include "base/utf8.h"
#include "text/byte_level.h"

namespace moebius {
namespace {

std::int32_t checked_id(const JsonView& part, std::string_view key, std::int64_t id) {
  if (id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
    part.fail_key(key, fmt::format("holds {}, which is not a token id", id));
  }
  return static_cast<std::int32_t>(id);
}

/// Appends tokens that correspond to no text.
void append_special(Tokens& tokens, const std::vector<std::int32_t>& ids) {
  tokens.ids.insert(tokens.ids.end(), ids.begin(), ids.end());
  if (!tokens.with_offsets) return;
  tokens.offsets.resize(tokens.ids.size());
  tokens.texts.resize(tokens.ids.size());
}

void append(Tokens& tokens, const Tokens& more) {
  tokens.ids.insert(tokens.ids.end(), more.ids.begin(), more.ids.end());
  tokens.offsets.insert(tokens.offsets.end(), more.offsets.begin(), more.offsets.end());
  tokens.texts.insert(tokens.texts.end(), more.texts.begin(), more.texts.end());
}

bool is_blank(char32_t c) {
  return is_white_space(c) || byte_of_char(c) == ' ';
}

/// Number of white-space characters at the front and at the end of a token.
std::pair<std::size_t, std::size_t> blanks_of(std::string_view token) {
  std::size_t front = 0, back = 0, count = 0;
  for (std::size_t at = 0; at < token.size(); ++count) {
    const bool blank = is_blank(next_code_point(token, at));
    if (blank && front == count) ++front;
    back = blank ? back + 1 : 0;
  }
  return {front, back};
}

/// Excludes white space from the ranges of byte-level tokens, except one space at the start of the
/// text that the prefix space put there.
void trim_offsets(Tokens& tokens, bool add_prefix_space) {
  for (std::size_t i = 0; i < tokens.offsets.size(); ++i) {
    CharacterRange& range = tokens.offsets[i];
    auto [front, back] = blanks_of(tokens.texts[i]);
    const bool is_first = i == 0 || range.begin == 0;
    if (front == 1 && is_first && add_prefix_space) front = 0;
    range.begin = std::min(range.begin + front, range.end);
    if (range.end >= back) range.end = std::max(range.end - back, range.begin);
  }
}

/// ByteLevel: changes only the offsets of tokens.
class ByteLevel final : public PostProcessor {
 public:
  explicit ByteLevel(const JsonView& part)
      : trim_(part.boolean_or("trim_offsets", true)),
        prefix_space_(part.boolean_or("add_prefix_space", true)) {}
  void apply(Tokens& tokens, bool) const override {
    if (trim_) trim_offsets(tokens, prefix_space_);
  }
  std::vector<std::int32_t> added_ids() const override { return {}; }

 private:
  bool trim_, prefix_space_;
};

/// One token in front and one at the end: RobertaProcessing, and BertProcessing, which does not
/// trim offsets.
class Around final : public PostProcessor {
 public:
  Around(const JsonView& part, bool trims)
      : trim_(trims && part.boolean_or("trim_offsets", true)),
        prefix_space_(part.boolean_or("add_prefix_space", true)),
        front_{id_of(part, "cls")},
        back_{id_of(part, "sep")} {}

  void apply(Tokens& tokens, bool add_special) const override {
    if (trim_) trim_offsets(tokens, prefix_space_);
    if (!add_special) return;
    Tokens out;
    out.with_offsets = tokens.with_offsets;
    append_special(out, front_);
    append(out, tokens);
    append_special(out, back_);
    tokens = std::move(out);
  }
  std::vector<std::int32_t> added_ids() const override { return {front_[0], back_[0]}; }

 private:
  /// Of `["<s>", 0]`.
  static std::int32_t id_of(const JsonView& part, std::string_view key) {
    const Json& json = part.json();
    const auto at = json.find(std::string(key));
    if (at == json.end() || !at->is_array() || at->size() != 2 || !(*at)[1].is_number_integer()) {
      part.fail_key(key, "is not a pair of a token and its id");
    }
    return checked_id(part, key, (*at)[1].get<std::int64_t>());
  }
  bool trim_, prefix_space_;
  std::vector<std::int32_t> front_, back_;
};

/// The form for single texts; the one for pairs is not read.
class Template final : public PostProcessor {
 public:
  explicit Template(const JsonView& part) {
    for (const JsonView& element : part.objects("single")) {
      if (element.has("Sequence")) {
        const std::string id = element.object("Sequence").string("id");
        if (id != "A") element.fail_key("Sequence", "names \"" + id + "\", a single text is \"A\"");
        elements_.push_back({true, {}});
      } else if (element.has("SpecialToken")) {
        elements_.push_back({false, ids_of(part, element.object("SpecialToken").string("id"))});
      } else {
        fail("{}: neither \"Sequence\" nor \"SpecialToken\"", element.where());
      }
    }
  }

  void apply(Tokens& tokens, bool add_special) const override {
    check_growth(tokens.ids.size());
    Tokens out;
    out.with_offsets = tokens.with_offsets;
    for (const Element& element : elements_) {
      if (element.is_text) {
        append(out, tokens);
      } else if (add_special) {
        append_special(out, element.ids);
      }
    }
    tokens = std::move(out);
  }

  std::vector<std::int32_t> added_ids() const override {
    std::vector<std::int32_t> out;
    for (const Element& element : elements_) {
      out.insert(out.end(), element.ids.begin(), element.ids.end());
    }
    return out;
  }

 private:
  struct Element {
    bool is_text;
    std::vector<std::int32_t> ids;
  };

  /// A template may hold the text many times, and a sequence many templates.
  void check_growth(std::size_t text) const {
    constexpr std::size_t most_added = 1 << 16, most_repeated = 1 << 22;
    std::size_t size = 0;
    for (const Element& element : elements_) size += element.is_text ? text : element.ids.size();
    if (size > text + most_added && size > most_repeated) {
      fail("the tokenizer's post_processor makes {} tokens of {}", size, text);
    }
  }

  static std::vector<std::int32_t> ids_of(const JsonView& part, const std::string& name) {
    const JsonView token = part.object("special_tokens").object(name);
    std::vector<std::int32_t> out;
    for (const std::int64_t id : token.integers("ids")) {
      out.push_back(checked_id(token, "ids", id));
    }
    return out;
  }

  std::vector<Element> elements_;
};

std::unique_ptr<const PostProcessor> make(const JsonView& part);

class Sequence final : public PostProcessor {
 public:
  explicit Sequence(const JsonView& part) {
    for (const JsonView& element : part.objects("processors")) parts_.push_back(make(element));
  }
  void apply(Tokens& tokens, bool add_special) const override {
    for (const auto& part : parts_) part->apply(tokens, add_special);
  }
  std::vector<std::int32_t> added_ids() const override {
    std::vector<std::int32_t> out;
    for (const auto& part : parts_) {
      const std::vector<std::int32_t> more = part->added_ids();
      out.insert(out.end(), more.begin(), more.end());
    }
    return out;
  }

 private:
  std::vector<std::unique_ptr<const PostProcessor>> parts_;
};

std::unique_ptr<const PostProcessor> make(const JsonView& part) {
  const std::string type = part.string("type");
  if (type == "Sequence") return std::make_unique<Sequence>(part);
  if (type == "ByteLevel") return std::make_unique<ByteLevel>(part);
  if (type == "RobertaProcessing") return std::make_unique<Around>(part, /*trims=*/true);
  if (type == "BertProcessing") return std::make_unique<Around>(part, /*trims=*/false);
  if (type == "TemplateProcessing") return std::make_unique<Template>(part);
  fail("{}: a post-processor of type \"{}\" is not supported", part.where(), type);
}

}  // namespace

std::unique_ptr<const PostProcessor> PostProcessor::load(const JsonView& parent,
                                                         std::string_view key) {
  return parent.has(key) ? make(parent.object(key)) : nullptr;
}

}  // namespace moebius
