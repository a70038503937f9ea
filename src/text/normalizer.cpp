#include "text/normalizer.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/unicode.h"
#include "base/utf8.h"
#include "text/normal_form.h"
#include "text/regex.h"

namespace moebius {
namespace {

class Prepend final : public Normalizer {
 public:
  explicit Prepend(const JsonView& part) : prefix_(part.string("prepend")) {}
  void apply(AlignedText& text) const override {
    if (text.text().empty()) return;
    AlignedText out = AlignedText::replacing(text);
    out.append(prefix_, text.origin_at(0));
    out.append(text.view());
    text = std::move(out);
  }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  explicit Replace(const JsonView& part)
      : pattern_(Pattern::load(part)), content_(part.string("content")) {}
  void apply(AlignedText& text) const override {
    AlignedText out = AlignedText::replacing(text);
    std::size_t from = 0;
    pattern_.each_match(text.text(), [&](std::size_t begin, std::size_t end) {
      out.append(text.view().sub(from, begin));
      out.append(content_, text.origin_before(end));
      from = end;
    });
    if (from == 0 && out.text().empty()) return;  // no match, or an empty one replaced by nothing
    out.append(text.view().sub(from, text.text().size()));
    text = std::move(out);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Strip final : public Normalizer {
 public:
  explicit Strip(const JsonView& part)
      : left_(part.boolean_or("strip_left", true)), right_(part.boolean_or("strip_right", true)) {}
  void apply(AlignedText& text) const override {
    const std::string& bytes = text.text();
    std::size_t begin = 0, end = 0;  // of the text without white space at its ends
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t start = at;
      if (is_white_space(next_code_point(bytes, at))) continue;
      if (end == 0) begin = start;
      end = at;
    }
    const bool all_space = end == 0 && (left_ || right_);
    if (!left_ || all_space) begin = 0;
    if (!right_ && !all_space) end = bytes.size();
    AlignedText out = AlignedText::replacing(text);
    out.append(text.view().sub(begin, end));
    text = std::move(out);
  }

 private:
  bool left_, right_;
};

class Form final : public Normalizer {
 public:
  explicit Form(NormalForm form) : form_(form) {}
  void apply(AlignedText& text) const override { to_normal_form(text, form_); }

 private:
  NormalForm form_;
};

class Lowercase final : public Normalizer {
 public:
  void apply(AlignedText& text) const override {
    AlignedText out = AlignedText::replacing(text);
    std::string lower;
    for (std::size_t at = 0; at < text.text().size();) {
      const ByteRange origin = text.origin_at(at);
      lower.clear();
      append_lowercase(lower, next_code_point(text.text(), at));
      out.append(lower, origin);
    }
    text = std::move(out);
  }
};

std::unique_ptr<const Normalizer> make(const JsonView& part);

class Sequence final : public Normalizer {
 public:
  explicit Sequence(const JsonView& part) {
    for (const JsonView& element : part.objects("normalizers")) parts_.push_back(make(element));
  }
  void apply(AlignedText& text) const override {
    for (const auto& part : parts_) part->apply(text);
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> parts_;
};

std::unique_ptr<const Normalizer> make(const JsonView& part) {
  const std::string type = part.string("type");
  if (type == "Sequence") return std::make_unique<Sequence>(part);
  if (type == "Prepend") return std::make_unique<Prepend>(part);
  if (type == "Replace") return std::make_unique<Replace>(part);
  if (type == "Strip") return std::make_unique<Strip>(part);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "NFC") return std::make_unique<Form>(NormalForm::nfc);
  if (type == "NFD") return std::make_unique<Form>(NormalForm::nfd);
  if (type == "NFKC") return std::make_unique<Form>(NormalForm::nfkc);
  if (type == "NFKD") return std::make_unique<Form>(NormalForm::nfkd);
  fail("{}: a normalizer of type \"{}\" is not supported", part.where(), type);
}

}  // namespace

std::unique_ptr<const Normalizer> Normalizer::load(const JsonView& parent, std::string_view key) {
  return parent.has(key) ? make(parent.object(key)) : nullptr;
}

}  // namespace moebius
