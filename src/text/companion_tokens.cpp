#include "text/companion_tokens.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "base/error.h"
#include "text/tokenizer_document.h"

namespace moebius {
namespace {

/// The names that all tokenizers have, in the order in which transformers numbers their tokens.
constexpr std::array<std::string_view, 7> kStandardNames = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

bool is_standard(std::string_view name) {
  return std::ranges::find(kStandardNames, name) != kStandardNames.end();
}

Json parse_if_there(const fs::path& file) {
  if (!fs::exists(file)) return Json::object();
  Json out = parse_json(read_large_text(file), file.string());  // in the order of the file
  JsonView(out, file.string());
  return out;
}

/// Whether Python takes the value of `key` for true.
bool is_given(const Json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && !at->is_null() && !at->empty();
}

nlohmann::json to_json(const AddedTokenEntry& token) {
  return {{"content", token.content},       {"special", token.special},
          {"normalized", token.normalized}, {"lstrip", token.lstrip},
          {"rstrip", token.rstrip},         {"single_word", token.single_word}};
}

/// A list of added tokens to which tokens are added as the tokenizers library does.
class TokenList {
 public:
  explicit TokenList(const nlohmann::json& tokens)
      : tokens_(tokens.is_null() ? nlohmann::json::array() : tokens) {
    if (!tokens_.is_array()) return;  // reported by whoever reads the list
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      const nlohmann::json& token = tokens_[i];
      if (!token.is_object()) continue;
      const auto content = token.find("content");
      if (content != token.end() && content->is_string()) places_.emplace(*content, i);
      const auto id = token.find("id");
      if (id != token.end() && id->is_number_integer()) ids_.insert(id->get<std::int64_t>());
    }
  }

  bool has(const std::string& content) const { return places_.contains(content); }
  bool has_id(std::int64_t id) const { return ids_.contains(id); }

  void add(const AddedTokenEntry& token) {
    if (token.content.empty() || !tokens_.is_array()) return;
    const auto [at, is_new] = places_.emplace(token.content, tokens_.size());
    if (is_new) return tokens_.push_back(to_json(token));
    // A token stays special, and a special one is looked for where it was at first.
    nlohmann::json& old = tokens_[at->second];
    nlohmann::json changed = to_json(token);
    if (old.value("special", false)) {
      changed["special"] = true;
      changed["normalized"] = old.value("normalized", false);
    }
    old.update(changed);
  }

  nlohmann::json take() { return std::move(tokens_); }

 private:
  nlohmann::json tokens_;
  std::map<std::string, std::size_t> places_;  // by content
  std::set<std::int64_t> ids_;                 // that the list gave at first
};

}  // namespace

CompanionTokens::CompanionTokens(const fs::path& directory, TokenizerClass kind)
    : where_((directory / "tokenizer_config.json").string()),
      resets_properties_(kind == TokenizerClass::qwen2) {
  for (const auto& [name, content] : default_tokens(kind)) named_[name] = {{content}, true};
  config_ = parse_if_there(directory / "tokenizer_config.json");
  read_config();
  if (config().has("added_tokens_decoder")) {
    config_lists_ = true;
    read_listed(config().object("added_tokens_decoder"));
  } else {
    read_older_files(directory);
  }
  any_ = any_ || !listed_.empty() || (extra_ && !extra_->empty());
  std::map<std::string_view, const AddedTokenEntry*> by_content;
  for (const auto& [id, token] : listed_) by_content[token.content] = &token;
  for (auto& [name, special] : named_) {
    const auto at = by_content.find(special.token.content);
    if (at != by_content.end()) special.token = *at->second;
  }
}

AddedTokenEntry CompanionTokens::read(const Json& json, const std::string& where,
                                      bool special) const {
  if (json.is_string()) {
    return {json.get<std::string>(), special, !special, false, false, false};
  }
  const JsonView view(json, where);
  special = special || view.boolean_or("special", false);
  return {view.string("content"),
          special,
          view.boolean_or("normalized", !special),
          view.boolean_or("lstrip", false),
          view.boolean_or("rstrip", false),
          view.boolean_or("single_word", false)};
}

void CompanionTokens::set_named(const std::string& name, const Json& value,
                                const std::string& where) {
  if (value.is_null()) {
    named_.erase(name);
    return;
  }
  if (!value.is_string() && !value.is_object()) return;
  Named token{read(value, fmt::format("{}: {}", where, name), true), false};
  if (token.token.content.empty()) return;
  any_ = true;
  if (!is_standard(name) && !named_.contains(name)) other_names_.push_back(name);
  named_.insert_or_assign(name, std::move(token));
}

void CompanionTokens::read_extra(const Json& value, const std::string& where) {
  if (value.is_object()) {
    for (const auto& [name, token] : value.items()) set_named(name, token, where);
    return;
  }
  if (!extra_) extra_.emplace();
  if (!value.is_array()) return;
  for (const Json& token : value) {
    // transformers writes a token with properties as an object with "__type".
    const bool special = !token.is_object() || !token.contains("__type");
    extra_->push_back(read(token, where, special));
  }
}

void CompanionTokens::read_config() {
  for (const auto& [name, value] : config_.items()) {
    if (name.ends_with("_token")) set_named(name, value, where_);
  }
  const auto read_key = [&](const char* key) {
    const auto at = config_.find(key);
    if (at != config_.end()) read_extra(*at, fmt::format("{}: {}", where_, key));
  };
  const bool list =
      is_given(config_, "extra_special_tokens") && !config_["extra_special_tokens"].is_object();
  read_key("extra_special_tokens");
  if (!list) read_key("additional_special_tokens");  // the older name of the list
  read_key("model_specific_special_tokens");
}

void CompanionTokens::read_listed(const JsonView& list) {
  for (const auto& [key, value] : list.json().items()) {
    std::int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0) {
      list.fail_key(key, "is not a token id");
    }
    listed_.insert_or_assign(id, read(value, fmt::format("{}: {}", list.where(), key), false));
  }
}

void CompanionTokens::read_older_files(const fs::path& directory) {
  const fs::path file = directory / "special_tokens_map.json";
  const Json map = parse_if_there(file);
  for (const auto& [name, value] : map.items()) {
    if (name.ends_with("_token")) set_named(name, value, file.string());
  }
  const auto read_key = [&](const char* key) {
    const auto at = map.find(key);
    if (at != map.end()) read_extra(*at, fmt::format("{}: {}", file.string(), key));
  };
  read_key("extra_special_tokens");
  read_added_tokens(directory / "added_tokens.json");
  // The older name of the list counts only where nothing else gives extra tokens.
  if (!extra_) read_key("additional_special_tokens");
}

void CompanionTokens::read_added_tokens(const fs::path& file) {
  const Json ids = parse_if_there(file);
  const JsonView view(ids, file.string());
  std::set<std::string_view> special_contents;
  for (const auto& [name, special] : named_) {
    if (is_standard(name)) special_contents.insert(special.token.content);
  }
  if (extra_) {
    for (const AddedTokenEntry& token : *extra_) special_contents.insert(token.content);
  }
  for (const auto& [content, id] : ids.items()) {
    // Not by `view.integer`, which searches the object: there may be very many tokens.
    const std::int64_t number = id.is_number_integer() ? id.get<std::int64_t>() : -1;
    if (number < 0 || number > INT32_MAX) view.fail_key(content, "is not a token id");
    const bool special = special_contents.contains(content);
    listed_.insert_or_assign(number, AddedTokenEntry{content, special, !special});
  }
}

std::string CompanionTokens::named(const std::string& name) const {
  const auto at = named_.find(name);
  return at == named_.end() ? "" : at->second.token.content;
}

Json CompanionTokens::names() const {
  Json out = Json::object();
  const auto add = [&](const std::string& name) {
    const auto at = named_.find(name);
    if (at != named_.end()) out[name] = at->second.token.content;
  };
  for (const std::string_view name : kStandardNames) add(std::string(name));
  for (const std::string& name : other_names_) add(name);
  return out;
}

void CompanionTokens::default_extra(std::vector<AddedTokenEntry> tokens) {
  if (!extra_) extra_ = std::move(tokens);
}

std::vector<const CompanionTokens::Named*> CompanionTokens::ordered_names() const {
  std::vector<const Named*> out;
  const auto add = [&](const std::string& name) {
    if (const auto at = named_.find(name); at != named_.end()) out.push_back(&at->second);
  };
  for (const std::string_view name : kStandardNames) add(std::string(name));
  for (const std::string& name : other_names_) add(name);
  return out;
}

nlohmann::json CompanionTokens::extend(
    const nlohmann::json& added_tokens,
    const std::function<bool(const std::string&)>& in_vocabulary) const {
  TokenList list(added_tokens);
  const std::vector<const Named*> names = ordered_names();
  std::set<std::string> named;
  for (const Named* each : names) named.insert(each->token.content);
  for (const auto& [id, token] : listed_) {
    // Without added_tokens_decoder the main file's list outranks added_tokens.json.
    if (!config_lists_ && (list.has_id(id) || list.has(token.content))) continue;
    AddedTokenEntry entry = token;
    entry.special = entry.special || named.contains(entry.content);
    list.add(entry);
  }
  for (const Named* each : names) {
    const AddedTokenEntry& token = each->token;
    if (list.has(token.content)) continue;
    if (each->by_default && in_vocabulary && !in_vocabulary(token.content)) continue;
    AddedTokenEntry entry = token;
    entry.special = true;
    list.add(entry);
  }
  if (extra_) {
    for (const AddedTokenEntry& token : *extra_) {
      if (list.has(token.content)) continue;
      AddedTokenEntry entry = token;
      entry.special = entry.special || named.contains(entry.content);
      list.add(entry);
    }
  }
  if (resets_properties_) {
    for (const Named* each : names) {
      if (list.has(each->token.content)) list.add({each->token.content});
    }
    if (extra_) {
      for (const AddedTokenEntry& token : *extra_) list.add({token.content});
    }
  }
  return list.take();
}

}  // namespace moebius
