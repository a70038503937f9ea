// Owns the strings and containers that one rendering makes, until it ends, and bounds what the
// rendering may cost: a template is a program from outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace moebius::jinja {

/// What a rendering may take before it ends with an error.
struct Limits {
  std::int64_t steps = 20'000'000;             ///< nodes evaluated, elements looked at
  std::size_t bytes = std::size_t{256} << 20;  ///< of strings and containers made
  int depth = 1500;                            ///< nested evaluations, macros included
};

class Heap {
 public:
  explicit Heap(const Limits& limits) : limits_(limits) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  /// Counts work; throws Error beyond the limit.
  void spend(std::size_t steps = 1);
  /// Counts memory that is about to be taken; throws Error beyond the limit.
  void reserve(std::size_t bytes);
  /// Throws the same Error if so much would be beyond the limit, and counts nothing.
  void require(std::size_t bytes) const;

  std::string_view text(std::string text);
  List* list(List::Kind kind, std::vector<Value> elements);
  /// What a generator of Python is: elements that can be drawn once.
  List* iterator(std::vector<Value> elements);
  Dict* dict();
  Function* function(std::string_view name, std::function<Value(const Arguments&)> body);
  Loop* loop();

  /// Holds a place in the nesting of evaluations; throws Error beyond the limit.
  class Nested {
   public:
    explicit Nested(Heap& heap);
    ~Nested() { --heap_.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Heap& heap_;
  };

 private:
  Limits limits_;
  std::int64_t steps_ = 0;
  std::size_t bytes_ = 0;
  int depth_ = 0;
  std::deque<std::string> texts_;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::deque<Function> functions_;
  std::deque<Loop> loops_;
};

}  // namespace moebius::jinja
