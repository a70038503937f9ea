#include "base/json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"
#include "base/utf8.h"

namespace moebius {
namespace {

/// Builds a value from the events of the parser. The library's own way looks through all keys of an
/// object for each new one, and takes the last of two that are the same; here an object's keys are
/// held in a set while it is read.
class JsonBuilder final : public nlohmann::json_sax<Json> {
 public:
  explicit JsonBuilder(std::string_view where) : where_(where) {}
  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t& value) override { return add(std::move(value)); }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool key(string_t& name) override {
    if (!open_.back().keys.insert(name).second) fail("{}: \"{}\" is there twice", where_, name);
    key_ = std::move(name);
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    fail("{}: malformed JSON: {}", where_, json_error_text(error));
  }

 private:
  struct Open {
    Json value;
    std::string key;  ///< under which it will stand in the one around it
    std::unordered_set<std::string> keys;
  };

  bool open(Json value) {
    if (open_.size() == max_depth) {
      fail("{}: malformed JSON: values are nested deeper than {} levels", where_, max_depth);
    }
    open_.push_back({std::move(value), std::move(key_), {}});
    return true;
  }
  bool close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    key_ = std::move(done.key);
    return add(std::move(done.value));
  }
  bool add(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (Json& parent = open_.back().value; parent.is_array()) {
      parent.push_back(std::move(value));
    } else {
      auto& members = parent.get_ref<Json::object_t&>();
      static_cast<Json::object_t::Container&>(members).emplace_back(std::move(key_),
                                                                    std::move(value));
    }
    return true;
  }

  static constexpr std::size_t max_depth = 500;  // others walk the values recursively
  std::string_view where_;
  Json root_;
  std::vector<Open> open_;
  std::string key_;
};

}  // namespace

Json parse_json(std::string_view text, std::string_view where) {
  check_utf8(text, where);
  JsonBuilder builder(where);
  Json::sax_parse(text, &builder);
  return builder.take();
}

std::string json_error_text(const std::exception& error) {
  const std::string what = error.what();
  const auto at = what.find("] ");
  return at == std::string::npos ? what : what.substr(at + 2);
}

Json parse_json_file(const fs::path& path) {
  return parse_json(read_file(path), path.string());
}

JsonView::JsonView(const Json& json, std::string where) : json_(&json), where_(std::move(where)) {
  if (!json.is_object()) fail("{}: a JSON object was expected, found {}", where_, json.type_name());
}

void JsonView::fail_key(std::string_view key, std::string_view what) const {
  fail("{}: \"{}\" {}", where_, key, what);
}

const Json* JsonView::find(std::string_view key) const {
  const auto at = json_->find(std::string(key));
  return at == json_->end() || at->is_null() ? nullptr : &*at;
}

const Json& JsonView::require(std::string_view key) const {
  const Json* found = find(key);
  if (found == nullptr) fail_key(key, "is missing");
  return *found;
}

bool JsonView::has(std::string_view key) const {
  return find(key) != nullptr;
}

std::int64_t JsonView::integer(std::string_view key, std::int64_t min, std::int64_t max) const {
  const Json& value = require(key);
  if (!value.is_number_integer()) fail_key(key, "is not an integer");
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX) {
    fail_key(key, "is too large");
  }
  const auto number = value.get<std::int64_t>();
  if (number < min || number > max) {
    fail_key(key, fmt::format("is {}, which is not in [{}, {}]", number, min, max));
  }
  return number;
}

std::int64_t JsonView::integer_or(std::string_view key, std::int64_t fallback, std::int64_t min,
                                  std::int64_t max) const {
  return has(key) ? integer(key, min, max) : fallback;
}

double JsonView::number(std::string_view key) const {
  const Json& value = require(key);
  if (!value.is_number()) fail_key(key, "is not a number");
  const auto number = value.get<double>();
  if (!std::isfinite(number)) fail_key(key, "is not finite");
  return number;
}

double JsonView::number_or(std::string_view key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

bool JsonView::boolean_or(std::string_view key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) fail_key(key, "is not true or false");
  return value->get<bool>();
}

std::string JsonView::string(std::string_view key) const {
  const Json& value = require(key);
  if (!value.is_string()) fail_key(key, "is not a string");
  return value.get<std::string>();
}

std::string JsonView::string_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? string(key) : std::string(fallback);
}

JsonView JsonView::object(std::string_view key) const {
  return {require(key), fmt::format("{}: {}", where_, key)};
}

std::vector<JsonView> JsonView::objects(std::string_view key) const {
  const Json& value = require(key);
  if (!value.is_array()) fail_key(key, "is not a list");
  std::vector<JsonView> out;
  for (const Json& element : value) {
    out.emplace_back(element, fmt::format("{}: {}[{}]", where_, key, out.size()));
  }
  return out;
}

std::vector<std::int64_t> JsonView::integers(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  std::vector<std::int64_t> out;
  const auto add = [&](const Json& element) {
    if (!element.is_number_integer()) fail_key(key, "is not an integer or a list of integers");
    out.push_back(element.get<std::int64_t>());
  };
  if (value->is_array()) {
    for (const Json& element : *value) add(element);
  } else {
    add(*value);
  }
  return out;
}

std::vector<std::string> JsonView::strings(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array()) fail_key(key, "is not a list");
  std::vector<std::string> out;
  for (const Json& element : *value) {
    if (!element.is_string()) fail_key(key, "is not a list of strings");
    out.push_back(element.get<std::string>());
  }
  return out;
}

}  // namespace moebius
