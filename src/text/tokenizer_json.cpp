#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"
#include "text/bpe_model.h"
#include "text/tokenizer_document.h"

namespace moebius {
namespace {

constexpr std::size_t kFileLimit = std::size_t{256} << 20;
constexpr int kDepthLimit = 100;  // as much as Hugging Face's library allows, or less

/// Throws Error if brackets outside strings nest too deep for what walks the values recursively.
void check_depth(std::string_view text, const std::string& where) {
  int depth = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '"') {
      while (++at < text.size() && text[at] != '"') at += text[at] == '\\';
    } else if (c == '[' || c == '{') {
      if (++depth > kDepthLimit) {
        fail("{}: values are nested deeper than {} levels at byte {}", where, kDepthLimit, at);
      }
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

/// Takes `key` out of an object; null if it isn't there.
nlohmann::json take(nlohmann::json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(key);
  if (at == object.end()) return nullptr;
  nlohmann::json out = std::move(*at);
  object.erase(at);
  return out;
}

std::unique_ptr<const Model> make_model(nlohmann::json& document, const std::string& where) {
  nlohmann::json model = take(document, "model");
  const nlohmann::json vocab = take(model, "vocab"), merges = take(model, "merges");
  const Json options(model);
  const JsonView view(options, where + ": model");
  // Files from before the key existed have no type but the two members.
  const std::string type = view.string_or("type", "BPE");
  if (type != "BPE") {
    fail("{}: a model of type \"{}\" is not supported, only BPE", view.where(), type);
  }
  return std::make_unique<BpeModel>(view, vocab, merges);
}

}  // namespace

std::string read_large_text(const fs::path& file) {
  std::string text = read_file(file, kFileLimit);
  check_utf8(text, file.string());
  return text;
}

nlohmann::json read_large_json(const fs::path& file) {
  return parse_large_json(read_file(file, kFileLimit), file.string());
}

nlohmann::json parse_large_json(std::string_view text, const std::string& where) {
  check_utf8(text, where);
  check_depth(text, where);
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    fail("{}: malformed JSON: {}", where, json_error_text(error));
  }
}

TokenizerDocument read_tokenizer_json(const fs::path& file) {
  return parse_tokenizer_json(read_file(file, kFileLimit), file.string());
}

TokenizerDocument parse_tokenizer_json(std::string_view text, const std::string& where) {
  nlohmann::json document = parse_large_json(text, where);
  TokenizerDocument out;
  out.where = where;
  if (!document.is_object()) {
    fail("{}: a JSON object was expected, found {}", out.where, document.type_name());
  }
  out.added_tokens = take(document, "added_tokens");
  if (!document.contains("model")) fail("{}: \"model\" is missing", out.where);
  out.model = make_model(document, out.where);
  out.parts = Json(document);
  out.decoder = Decoder({out.parts, out.where}, "decoder");
  return out;
}

}  // namespace moebius
