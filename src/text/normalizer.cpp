#include "text/normalizer.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace moebius {
namespace {

class Prepend final : public Normalizer {
 public:
  explicit Prepend(const JsonView& part) : prefix_(part.string("prepend")) {}
  void apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  explicit Replace(const JsonView& part)
      : pattern_(Pattern::load(part)), content_(part.string("content")) {}
  void apply(std::string& text) const override { text = pattern_.replace(text, content_); }

 private:
  Pattern pattern_;
  std::string content_;
};

class Strip final : public Normalizer {
 public:
  explicit Strip(const JsonView& part)
      : left_(part.boolean_or("strip_left", true)), right_(part.boolean_or("strip_right", true)) {}
  void apply(std::string& text) const override {
    std::size_t begin = 0, end = 0;  // of what is kept
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t start = at;
      if (is_white_space(next_code_point(text, at))) continue;
      if (end == 0) begin = start;
      end = at;
    }
    if (end == 0 && (left_ || right_)) return text.clear();
    if (right_) text.resize(end);
    if (left_) text.erase(0, begin);
  }

 private:
  bool left_, right_;
};

class Form final : public Normalizer {
 public:
  explicit Form(NormalForm form) : form_(form) {}
  void apply(std::string& text) const override { text = to_normal_form(text, form_); }

 private:
  NormalForm form_;
};

class Lowercase final : public Normalizer {
 public:
  void apply(std::string& text) const override { text = to_lowercase(text); }
};

std::unique_ptr<const Normalizer> make(const JsonView& part);

class Sequence final : public Normalizer {
 public:
  explicit Sequence(const JsonView& part) {
    for (const JsonView& element : part.objects("normalizers")) parts_.push_back(make(element));
  }
  void apply(std::string& text) const override {
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
