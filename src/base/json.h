// Typed, checked access to JSON that came from outside: every error names the file and the key.
#pragma once

#include <cstdint>
#include <exception>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace moebius {

using Json = nlohmann::ordered_json;

/// Parses a file as one JSON object; throws Error naming file, line and column.
Json parse_json_file(const fs::path& path);
/// Same for text; `where` names it in errors. Doubled keys and deep nesting are errors too.
Json parse_json(std::string_view text, std::string_view where);

/// What a parser's error says, without the library's own number of it.
std::string json_error_text(const std::exception& error);

/// A view of a JSON object together with the name of where it stands.
class JsonView {
 public:
  /// Throws Error unless `json` is an object.
  JsonView(const Json& json, std::string where);

  bool has(std::string_view key) const;  ///< present and not null
  /// Required forms throw when the key is absent; all throw on another type or out of bounds.
  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max) const;
  std::int64_t integer_or(std::string_view key, std::int64_t fallback, std::int64_t min,
                          std::int64_t max) const;
  double number(std::string_view key) const;
  double number_or(std::string_view key, double fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;
  std::string string(std::string_view key) const;
  std::string string_or(std::string_view key, std::string_view fallback) const;
  JsonView object(std::string_view key) const;
  /// The elements of an array of objects.
  std::vector<JsonView> objects(std::string_view key) const;
  /// A number or a list of numbers, as `eos_token_id` may be; empty when absent.
  std::vector<std::int64_t> integers(std::string_view key) const;
  /// A list of strings; empty when absent.
  std::vector<std::string> strings(std::string_view key) const;

  const Json& json() const { return *json_; }
  const std::string& where() const { return where_; }
  [[noreturn]] void fail_key(std::string_view key, std::string_view what) const;

 private:
  const Json* find(std::string_view key) const;
  const Json& require(std::string_view key) const;
  const Json* json_;
  std::string where_;
};

}  // namespace moebius
