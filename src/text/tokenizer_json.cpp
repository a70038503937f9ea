#include <functional>
#include <optional>

#include "base/error.h"
#include "base/utf8.h"
#include "text/bpe_model.h"
#include "text/companion_tokens.h"
#include "text/tokenizer_class.h"
#include "text/tokenizer_document.h"

namespace moebius {
namespace {

constexpr std::size_t kFileLimit = std::size_t{256} << 20;
constexpr int kDepthLimit = 100;  // at most what Hugging Face's library allows

/// Throws Error if brackets outside strings are nested too deep for recursive functions on the
/// values.
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

/// Removes `key` from an object and returns its value; null if it is absent.
nlohmann::json take(nlohmann::json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(key);
  if (at == object.end()) return nullptr;
  nlohmann::json out = std::move(*at);
  object.erase(at);
  return out;
}

std::unique_ptr<const TokenizerModel> make_model(nlohmann::json& document,
                                                 const std::string& where) {
  nlohmann::json model = take(document, "model");
  const nlohmann::json vocab = take(model, "vocab"), merges = take(model, "merges");
  const Json options(model);
  const JsonView view(options, where + ": model");
  // Older files have no type.
  const std::string type = view.string_or("type", "BPE");
  if (type != "BPE") {
    fail("{}: a model of type \"{}\" is not supported, only BPE", view.where(), type);
  }
  return std::make_unique<BpeModel>(view, vocab, merges);
}

/// `directory`: where the companions are; none: there are no companions.
TokenizerDocument make_document(nlohmann::json document, const std::string& where,
                                const std::optional<fs::path>& directory) {
  TokenizerDocument out;
  out.where = where;
  if (!document.is_object()) {
    fail("{}: a JSON object was expected, found {}", out.where, document.type_name());
  }
  out.added_tokens = take(document, "added_tokens");
  if (!document.contains("model")) fail("{}: \"model\" is missing", out.where);
  out.model = make_model(document, out.where);
  out.parts = Json(document);
  if (directory) {
    const Vocabulary& vocabulary = out.model->vocabulary();
    apply_companions(*directory, out.parts, out.added_tokens, [&](const std::string& content) {
      return vocabulary.id_of(content).has_value();
    });
  }
  out.decoder = Decoder({out.parts, out.where}, "decoder");
  return out;
}

/// Sets `key` of all parts of one type, including members of sequences.
void set_flag(Json& part, std::string_view type, const char* key, bool value) {
  if (part.is_array()) {
    for (Json& each : part) set_flag(each, type, key, value);
    return;
  }
  if (!part.is_object()) return;
  if (part.value("type", "") == type) part[key] = value;
  for (const char* list : {"pretokenizers", "processors"}) {
    if (part.contains(list)) set_flag(part[list], type, key, value);
  }
}

/// Removes the parts for which `drop` is true: `part` itself, or members of its `list`.
void remove_parts(Json& part, const char* list, const std::function<bool(const Json&)>& drop) {
  if (!part.is_object()) return;
  if (drop(part)) {
    part = nullptr;
    return;
  }
  const auto at = part.find(list);
  if (at == part.end() || !at->is_array()) return;
  Json kept = Json::array();
  for (const Json& each : *at) {
    if (!drop(each)) kept.push_back(each);
  }
  *at = std::move(kept);
}

bool has_type(const Json& part, std::string_view type) {
  return part.is_object() && part.contains("type") && part["type"] == type;
}

/// Removes the space that a tokenizer of Llama's kind puts before a text.
void drop_prefix_space(Json& parts) {
  remove_parts(parts["normalizer"], "normalizers",
               [](const Json& part) { return has_type(part, "Prepend"); });
  remove_parts(parts["decoder"], "decoders", [](const Json& part) {
    return has_type(part, "Strip") && part.value("content", "") == " ";
  });
  if (has_type(parts["pre_tokenizer"], "Metaspace")) {
    parts["pre_tokenizer"]["prepend_scheme"] = "never";
    parts["pre_tokenizer"]["add_prefix_space"] = false;
  }
}

/// "add_prefix_space" of tokenizer_config.json outranks the parts for the classes of transformers
/// that build their parts from it.
void apply_prefix_space(TokenizerClass kind, bool add_prefix_space, Json& parts) {
  if (kind == TokenizerClass::other) return;
  if (kind != TokenizerClass::llama) {
    set_flag(parts["pre_tokenizer"], "ByteLevel", "add_prefix_space", add_prefix_space);
    set_flag(parts["post_processor"], "RobertaProcessing", "add_prefix_space", add_prefix_space);
  } else if (!add_prefix_space) {
    drop_prefix_space(parts);
  }
}

}  // namespace

void apply_companions(const fs::path& directory, Json& parts, nlohmann::json& added_tokens,
                      const std::function<bool(const std::string&)>& in_vocabulary) {
  const TokenizerClass kind = find_tokenizer_class(directory).kind;
  const CompanionTokens companions(directory, kind);
  added_tokens = companions.extend(added_tokens, in_vocabulary);
  const JsonView config = companions.config();
  if (config.has("add_prefix_space")) {
    apply_prefix_space(kind, config.boolean_or("add_prefix_space", false), parts);
  }
}

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
  return make_document(read_large_json(file), file.string(), file.parent_path());
}

TokenizerDocument parse_tokenizer_json(std::string_view text, const std::string& where) {
  return make_document(parse_large_json(text, where), where, std::nullopt);
}

}  // namespace moebius
