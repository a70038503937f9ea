// The first part of a tokenizer: what happens to the characters before they are split.
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

  /// The one under `key` of `parent`; null where there is none. Throws Error naming a type that
  /// is not supported.
  static std::unique_ptr<const Normalizer> load(const JsonView& parent, std::string_view key);
};

}  // namespace moebius
