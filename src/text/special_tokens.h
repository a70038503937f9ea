// The files beside a vocabulary in which transformers says what is special: tokenizer_config.json,
// or special_tokens_map.json and added_tokens.json from before it had a list of added tokens.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"

namespace moebius {

class SpecialTokens {
 public:
  /// What `directory` says; absent files say nothing. `defaults` are the values that the tokenizer
  /// class gives to names such as "bos_token".
  SpecialTokens(const fs::path& directory, const std::map<std::string, std::string>& defaults);

  /// tokenizer_config.json; an empty object if there is none.
  JsonView config() const { return {config_, where_}; }
  /// The token of a name such as "bos_token"; empty if there is none.
  std::string named(const std::string& name) const;
  /// As in a tokenizer.json, in the order in which transformers numbers them.
  nlohmann::json added_tokens() const;

 private:
  struct Token {
    std::string content;
    bool special, normalized, lstrip, rstrip, single_word;
  };
  Token read(const Json& json, const std::string& where, bool special) const;
  void read_names(const Json& file, const std::string& where);
  void read_listed(const JsonView& list);
  void read_old_files(const fs::path& directory);

  Json config_ = Json::object();
  std::string where_;
  std::map<std::string, Token> named_;
  std::vector<Token> more_;               // special, without a name
  std::map<std::int64_t, Token> listed_;  // by the number that the file gives them
};

}  // namespace moebius
