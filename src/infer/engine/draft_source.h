// The interface of draft models, multi-token heads and prompt lookup for speculative decoding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace moebius {

/// Proposes tokens that may follow a sequence. The engine verifies all of them in one pass and
/// keeps the longest prefix that equals what it would have chosen token by token, so drafts change
/// the number of passes and never the text.
class DraftSource {
 public:
  virtual ~DraftSource() = default;
  /// At most `max` tokens that may follow `ids`, prompt included; none where there is no guess.
  virtual std::vector<std::int32_t> propose(std::span<const std::int32_t> ids,
                                            std::int64_t max) = 0;
};

}  // namespace moebius
