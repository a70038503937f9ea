// Post-processors: the part of a tokenizer that adds special tokens around those of a text.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/json.h"
#include "text/tokens.h"

namespace moebius {

class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  virtual void apply(Tokens& tokens, bool add_special) const = 0;

  /// Reads the post-processor under `key` of `parent`; null if there is none. Throws Error naming a
  /// type that is not supported.
  static std::unique_ptr<const PostProcessor> load(const JsonView& parent, std::string_view key);
  /// Every id that `apply` may add.
  virtual std::vector<std::int32_t> added_ids() const = 0;
};

}  // namespace moebius
