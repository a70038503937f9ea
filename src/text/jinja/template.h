// Jinja2 templates, rendered to the same text as by transformers' chat templates. A template is
// untrusted: it can access only its variables, and its steps, memory and nesting are limited.
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
  /// `name` is the prefix of errors. Throws Error naming the line of what is malformed or not
  /// supported. `source` may be any bytes.
  static Template parse(std::string_view source, std::string name);

  /// `variables` is an object. Throws Error naming the line where rendering fails, or with the
  /// message that the template raises.
  std::string render(const Json& variables, const Limits& limits = {}) const;

 private:
  struct Parsed;
  explicit Template(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}
  std::shared_ptr<const Parsed> parsed_;
};

/// Parses and renders a template that is used once. For any bytes it returns or throws Error within
/// `limits`; fuzzing uses it.
std::string render(std::string_view source, const Json& variables, const Limits& limits = {});

}  // namespace moebius::jinja
