// The memory of one rendering: owns its strings and containers, and limits its steps, memory and
// nesting, because templates are untrusted programs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace moebius::jinja {

/// Limits of a rendering; beyond them it ends with an error.
struct Limits {
  std::int64_t steps = 20'000'000;             ///< nodes evaluated and elements visited
  std::size_t bytes = std::size_t{256} << 20;  ///< allocated for strings and containers
  int depth = 1500;                            ///< nested evaluations, macros included
};

class Heap {
 public:
  explicit Heap(const Limits& limits) : limits_(limits) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  /// Counts steps; throws Error beyond the limit.
  void spend(std::size_t steps = 1);
  /// Counts memory before it is allocated; throws Error beyond the limit.
  void reserve(std::size_t bytes);
  /// Throws the same Error if so many bytes would exceed the limit; counts nothing.
  void require(std::size_t bytes) const;

  std::string_view text(std::string text);
  List* list(List::Kind kind, std::vector<Value> elements);
  /// An iterator as Python's generators: its elements can be consumed once.
  List* iterator(std::vector<Value> elements);
  Dict* dict();
  Function* function(std::string_view name, std::function<Value(const Arguments&)> body);
  Loop* loop();

  /// Scope of one nested evaluation; throws Error beyond the limit of depth.
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
