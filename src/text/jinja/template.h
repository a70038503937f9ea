// Templates in Jinja2 as transformers renders chat templates: the same text for the same
// variables. A template is a program from outside: it sees its variables and nothing else, and its
// steps, memory and nesting are bounded.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "text/jinja/heap.h"

namespace moebius::jinja {

/// Cheap to copy; any number of threads may render one at once.
class Template {
 public:
  /// `name` stands in front of errors. Throws Error naming the line of what is malformed or not
  /// supported. Any bytes may be given.
  static Template parse(std::string_view source, std::string name);

  /// `variables` is an object. Throws Error naming the line where rendering fails, or with what the
  /// template itself raises.
  std::string render(const Json& variables, const Limits& limits = {}) const;

 private:
  struct Parsed;
  explicit Template(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}
  std::shared_ptr<const Parsed> parsed_;
};

/// Both at once, for a template that is used once. Whatever the bytes, it returns or throws Error
/// within `limits`: a fuzzer's way in.
std::string render(std::string_view source, const Json& variables, const Limits& limits = {});

}  // namespace moebius::jinja
