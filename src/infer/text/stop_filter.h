#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace moebius {

/// Passes text through up to the first stop string; holds back what may be the beginning of one.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops);

  /// The text that may be printed now; empty after a stop string.
  std::string push(std::string_view piece);
  /// The text that was held back, at the end of the input.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace moebius
