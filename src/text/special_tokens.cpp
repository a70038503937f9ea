#include "text/special_tokens.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "text/tokenizer_document.h"

namespace moebius {
namespace {

/// The names that all tokenizers have, in the order in which their tokens are numbered.
constexpr std::array kNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                               "pad_token", "cls_token", "mask_token"};

Json parse_if_there(const fs::path& file) {
  if (!fs::exists(file)) return Json::object();
  Json out(read_large_json(file));
  JsonView(out, file.string());
  return out;
}

}  // namespace

SpecialTokens::SpecialTokens(const fs::path& directory,
                             const std::map<std::string, std::string>& defaults)
    : where_((directory / "tokenizer_config.json").string()) {
  for (const auto& [name, content] : defaults) {
    named_[name] = {content, true, false, false, false, false};
  }
  config_ = parse_if_there(directory / "tokenizer_config.json");
  read_names(config_, where_);
  if (config().has("added_tokens_decoder")) {
    read_listed(config().object("added_tokens_decoder"));
  } else {
    read_old_files(directory);
  }
  for (auto& [id, token] : listed_) {
    for (auto& [name, special] : named_) {
      if (special.content != token.content) continue;
      token.special = true;
      special = token;
    }
  }
}

SpecialTokens::Token SpecialTokens::read(const Json& json, const std::string& where,
                                         bool special) const {
  if (json.is_string()) return {json.get<std::string>(), special, !special, false, false, false};
  const JsonView view(json, where);
  special = special || view.boolean_or("special", false);
  return {view.string("content"),
          special,
          view.boolean_or("normalized", !special),
          view.boolean_or("lstrip", false),
          view.boolean_or("rstrip", false),
          view.boolean_or("single_word", false)};
}

void SpecialTokens::read_names(const Json& file, const std::string& where) {
  for (const auto& [name, value] : file.items()) {
    const std::string place = fmt::format("{}: {}", where, name);
    if (name == "additional_special_tokens" || name == "extra_special_tokens") {
      if (!value.is_array()) continue;
      for (const Json& token : value) more_.push_back(read(token, place, true));
    } else if (name.ends_with("_token") && (value.is_string() || value.is_object())) {
      named_.insert_or_assign(name, read(value, place, true));
    } else if (value.is_null()) {
      named_.erase(name);
    }
  }
}

void SpecialTokens::read_listed(const JsonView& list) {
  for (const auto& [key, value] : list.json().items()) {
    std::int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0) {
      list.fail_key(key, "is no token id");
    }
    listed_.insert_or_assign(id, read(value, fmt::format("{}: {}", list.where(), key), false));
  }
}

void SpecialTokens::read_old_files(const fs::path& directory) {
  const fs::path map = directory / "special_tokens_map.json";
  read_names(parse_if_there(map), map.string());
  const fs::path added = directory / "added_tokens.json";
  const Json ids = parse_if_there(added);
  const JsonView view(ids, added.string());
  const auto is_special = [&](const std::string& content) {
    const auto same = [&](const Token& token) { return token.content == content; };
    return std::any_of(more_.begin(), more_.end(), same) ||
           std::any_of(named_.begin(), named_.end(),
                       [&](auto& entry) { return same(entry.second); });
  };
  for (const auto& [content, id] : ids.items()) {
    const std::int64_t number = view.integer(content, 0, INT32_MAX);
    const bool special = is_special(content);
    listed_.insert_or_assign(number, Token{content, special, !special, false, false, false});
  }
}

std::string SpecialTokens::named(const std::string& name) const {
  const auto at = named_.find(name);
  return at == named_.end() ? "" : at->second.content;
}

nlohmann::json SpecialTokens::added_tokens() const {
  nlohmann::json out = nlohmann::json::array();
  const auto add = [&](const Token& token) {
    const auto same = [&](const auto& entry) { return entry["content"] == token.content; };
    if (std::any_of(out.begin(), out.end(), same)) return;
    out.push_back({{"content", token.content},
                   {"special", token.special},
                   {"normalized", token.normalized},
                   {"lstrip", token.lstrip},
                   {"rstrip", token.rstrip},
                   {"single_word", token.single_word}});
  };
  for (const auto& [id, token] : listed_) add(token);
  for (const char* name : kNames) {
    if (const auto at = named_.find(name); at != named_.end()) add(at->second);
  }
  for (const auto& [name, token] : named_) add(token);
  for (const Token& token : more_) add(token);
  return out;
}

}  // namespace moebius
