// Tokens that the files beside a tokenizer's main file name: tokenizer_config.json,
// special_tokens_map.json and added_tokens.json. They are read as `from_pretrained` of transformers
// 5 reads them: the list "added_tokens_decoder" of the first replaces the other two files.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "text/tokenizer_class.h"

namespace moebius {

/// An entry of "added_tokens" in a tokenizer.json, without its id.
struct AddedTokenEntry {
  std::string content;
  bool special = true, normalized = false, lstrip = false, rstrip = false, single_word = false;
  bool operator==(const AddedTokenEntry&) const = default;
};

class CompanionTokens {
 public:
  /// Reads the files of `directory`; absent ones name nothing. The default tokens of the class
  /// `kind` count where no file replaces them or, by null, removes them. Throws Error naming the
  /// file and the key of what is malformed.
  CompanionTokens(const fs::path& directory, TokenizerClass kind);

  /// tokenizer_config.json; an empty object if there is none.
  JsonView config() const { return {config_, where_}; }
  /// Whether any of the files names a token.
  bool name_any() const { return any_; }
  /// Content of the special token with a name such as "bos_token"; empty if there is none.
  std::string named(const std::string& name) const;
  /// The special tokens with names, as chat templates see them: name -> content.
  Json names() const;

  /// Tokens that count as extra special tokens where no file gives such a list: those that a
  /// SentencePiece model declares.
  void default_extra(std::vector<AddedTokenEntry> tokens);

  /// The "added_tokens" of a main file (null or a list) and after them the tokens of the
  /// companions, in the order in which transformers numbers them. A token that the main file has
  /// gets the properties that "added_tokens_decoder" gives it. `in_vocabulary` says whether the
  /// main file has a token at all: defaults of the class that it lacks are left out. Null: none are
  /// left out.
  nlohmann::json extend(const nlohmann::json& added_tokens,
                        const std::function<bool(const std::string&)>& in_vocabulary) const;
  /// The same without a main file's list.
  nlohmann::json list() const { return extend(nullptr, nullptr); }

 private:
  struct Named {
    AddedTokenEntry token;
    bool by_default = false;
  };
  AddedTokenEntry read(const Json& json, const std::string& where, bool special) const;
  void read_config();
  void read_listed(const JsonView& list);
  /// special_tokens_map.json and added_tokens.json.
  void read_older_files(const fs::path& directory);
  void read_added_tokens(const fs::path& file);
  void set_named(const std::string& name, const Json& value, const std::string& where);
  /// The tokens of a list, or of an object that names them, which count as named ones.
  void read_extra(const Json& value, const std::string& where);
  /// Named tokens in the order of transformers: the seven standard names, then the others.
  std::vector<const Named*> ordered_names() const;

  Json config_ = Json::object();
  std::string where_;
  bool any_ = false;
  bool resets_properties_;  // the class adds its special tokens again, without properties
  std::map<std::string, Named> named_;
  std::vector<std::string> other_names_;  // beyond the standard ones, in the files' order
  std::optional<std::vector<AddedTokenEntry>> extra_;
  std::map<std::int64_t, AddedTokenEntry> listed_;  // by the id that the file gives
  bool config_lists_ = false;                       // listed_ is "added_tokens_decoder"
};

}  // namespace moebius
