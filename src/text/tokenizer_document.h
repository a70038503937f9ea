// A tokenizer's parts as the keys of a tokenizer.json. Files in other layouts are read as the
// equivalent tokenizer.json.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/files.h"
#include "base/json.h"
#include "text/decoder.h"
#include "text/tokenizer_model.h"

namespace moebius {

/// Regular expression of the words of Qwen2's tokenizer.
inline constexpr std::string_view qwen2_words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct TokenizerDocument {
  std::string where;            // names the file in errors
  Json parts = Json::object();  // "normalizer", "pre_tokenizer", "post_processor"
  nlohmann::json added_tokens;
  bool finds_added_tokens = true;  // false: they are not matched in texts
  std::unique_ptr<const TokenizerModel> model;
  Decoder decoder;
};

/// Layout and main file of a model's tokenizer.
struct TokenizerFiles {
  enum class Layout { tokenizer_json, sentencepiece, vocab_and_merges } layout;
  fs::path file;  ///< vocab.json of vocab_and_merges
};
/// The first layout that `directory` has, in the order of the enum; none if it has no tokenizer.
std::optional<TokenizerFiles> find_tokenizer(const fs::path& directory);
/// Throws Error if it has none.
TokenizerFiles require_tokenizer(const fs::path& directory);

/// The file and its companions. Throws Error naming what is wrong with them.
TokenizerDocument read_tokenizer_json(const fs::path& file);
TokenizerDocument parse_tokenizer_json(std::string_view text, const std::string& where);
/// Reads GPT-2's layout: `directory` holds vocab.json and merges.txt, and may hold companions that
/// name the class of transformers and special tokens.
TokenizerDocument read_vocab_and_merges(const fs::path& directory);
/// The lines of a merges.txt as a list.
nlohmann::json read_merges(const fs::path& file);
/// `file` is a SentencePiece model. Where the files beside it name tokens or a class of
/// transformers, those tokens are found in a text and spaces are treated as that class does;
/// otherwise all is as the SentencePiece library does. BOS is added and EOS is not, unless
/// tokenizer_config.json says otherwise.
TokenizerDocument read_sentencepiece(const fs::path& file);

/// Properties of the pieces of a SentencePiece model and of its treatment of texts.
struct SentencePieces {
  std::vector<double> scores;  ///< by id
  std::vector<bool> plain;     ///< by id: not a control, unknown, unused or byte piece
  std::string unknown;
  bool prepends_space = false, keeps_spaces = true, keeps_characters = true;
  bool prepends_only_first = false;  ///< no space is put before what follows an added token
};
SentencePieces describe_sentencepiece(const fs::path& file);

/// Applies the files beside a tokenizer.json to its parts and to its list of added tokens (or
/// null): they add tokens, and change the properties of tokens and whether a text gets a space in
/// front. `in_vocabulary` says whether the model has a token.
void apply_companions(const fs::path& directory, Json& parts, nlohmann::json& added_tokens,
                      const std::function<bool(const std::string&)>& in_vocabulary);

/// A TemplateProcessing that puts `front` and `back` around a text; an empty one is left out.
Json template_around(const std::string& front, std::int32_t front_id, const std::string& back,
                     std::int32_t back_id);

/// Parses text of at most 256 MiB whose values are nested no deeper than any tokenizer's, and whose
/// objects may have very many keys, for which parse_json is too slow.
nlohmann::json read_large_json(const fs::path& file);
nlohmann::json parse_large_json(std::string_view text, const std::string& where);
/// The content of a file that must be UTF-8 and at most 256 MiB.
std::string read_large_text(const fs::path& file);

}  // namespace moebius
