#include "text/jinja/heap.h"

#include "base/error.h"

namespace moebius::jinja {

void Heap::spend(std::size_t steps) {
  const auto left = static_cast<std::size_t>(limits_.steps - steps_);
  if (steps > left) fail("the template takes more than {} steps", limits_.steps);
  steps_ += static_cast<std::int64_t>(steps);
}

void Heap::require(std::size_t bytes) const {
  if (bytes > limits_.bytes - bytes_) {
    fail("the template makes more than {} MiB of text and lists", limits_.bytes >> 20);
  }
}

void Heap::reserve(std::size_t bytes) {
  require(bytes);
  bytes_ += bytes;
}

std::string_view Heap::text(std::string text) {
  reserve(sizeof text + text.size());
  return texts_.emplace_back(std::move(text));
}

List* Heap::list(List::Kind kind, std::vector<Value> elements) {
  spend(elements.size());
  reserve(sizeof(List) + elements.size() * sizeof(Value));
  return &lists_.emplace_back(List{kind, std::move(elements), 0, {}});
}

List* Heap::iterator(std::vector<Value> elements) {
  List* made = list(List::Kind::iterator, std::move(elements));
  made->label = "<generator object>";
  return made;
}

Dict* Heap::dict() {
  reserve(sizeof(Dict));
  return &dicts_.emplace_back();
}

Function* Heap::function(std::string_view name, std::function<Value(const Arguments&)> body) {
  reserve(sizeof(Function) + 64);
  return &functions_.emplace_back(Function{name, std::move(body)});
}

Loop* Heap::loop() {
  reserve(sizeof(Loop) + 64);
  return &loops_.emplace_back();
}

Heap::Nested::Nested(Heap& heap) : heap_(heap) {
  if (++heap.depth_ > heap.limits_.depth) {
    --heap.depth_;
    fail("the template nests deeper than {} evaluations", heap.limits_.depth);
  }
}

}  // namespace moebius::jinja
