// The first part of a tokenizer: what happens to the characters before they are split.
#pragma once

#include <memory>
#include <string>

#include "base/json.h"

namespace moebius {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// `text` is well-formed UTF-8 and stays so.
  virtual void apply(std::string& text) const = 0;

  /// The one under `key` of `parent`; null where there is none. Throws Error naming a type that
  /// is not supported.
  static std::unique_ptr<const Normalizer> load(const JsonView& parent, std::string_view key);
};

}  // namespace moebius
