// Normalisers: the first part of a tokenizer, which changes characters before the text is split.
#pragma once

#include <memory>

#include "base/json.h"
#include "text/aligned_text.h"

namespace moebius {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// `text` is well-formed UTF-8 and stays so.
  virtual void apply(AlignedText& text) const = 0;

  /// Reads the normaliser under `key` of `parent`; null if there is none. Throws Error naming a
  /// type that is not supported.
  static std::unique_ptr<const Normalizer> load(const JsonView& parent, std::string_view key);
};

}  // namespace moebius
