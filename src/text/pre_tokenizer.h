// The second part of a tokenizer: cuts the normalised text into the words that the model sees
// one by one. A new kind is one class with one function and one line in `make`.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace moebius {

/// Words that lie one behind the other in one buffer; none is empty.
struct Words {
  std::string text;
  std::vector<std::size_t> ends;

  void clear() { text.clear(), ends.clear(); }
  void assign(std::string_view word) { clear(), add(word); }
  void add(std::string_view word) { text.append(word), close(); }
  /// Makes a word of what was appended to `text` since the last one.
  void close() {
    if (text.size() > (ends.empty() ? 0 : ends.back())) ends.push_back(text.size());
  }
  std::size_t size() const { return ends.size(); }
  std::string_view operator[](std::size_t i) const {
    const std::size_t begin = i == 0 ? 0 : ends[i - 1];
    return std::string_view(text).substr(begin, ends[i] - begin);
  }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Appends what `word` becomes to `out`.
  virtual void split(std::string_view word, Words& out) const = 0;

  /// The one under `key` of `parent`; null where there is none. Throws Error naming a type that
  /// is not supported.
  static std::unique_ptr<const PreTokenizer> load(const JsonView& parent, std::string_view key);
};

}  // namespace moebius
