#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace moebius {

/// Lets text through until a stop string is complete; holds back what may become one.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops);

  /// The part that may be printed now. After a stop string was met nothing more comes.
  std::string push(std::string_view piece);
  /// What was held back, once no more text will come.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace moebius
