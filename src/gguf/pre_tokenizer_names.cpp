#include "gguf/pre_tokenizer_names.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/tokenizer_document.h"

namespace moebius {
namespace {

constexpr std::string_view llama3_words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// A pre-tokenizer: an expression, or GPT-2's own if it is empty; `digits`: after a split into
/// single digits.
struct Row {
  NamedPreTokenizer pre;
  std::string_view expression;
  bool digits = false;
};
constexpr Row rows[] = {
    {{"gpt-2"}, ""},
    {{"starcoder"}, "", true},
    {{"qwen2"}, qwen2_words},
    {{"llama-bpe", true, true}, llama3_words},
};
/// Other names of llama.cpp for the same pre-tokenizers.
constexpr std::pair<std::string_view, std::string_view> aliases[] = {
    {"phi-2", "gpt-2"},      {"olmo", "gpt-2"},         {"granite-docling", "gpt-2"},
    {"refact", "starcoder"}, {"smollm", "starcoder"},   {"deepseek-r1-qwen", "qwen2"},
    {"llama3", "llama-bpe"}, {"llama-v3", "llama-bpe"},
};

const Row* find_row(std::string_view name) {
  const auto at = std::find_if(std::begin(rows), std::end(rows),
                               [&](const Row& row) { return row.pre.name == name; });
  return at == std::end(rows) ? nullptr : at;
}

/// Appends the members of nested sequences in order.
void flatten(const Json& part, std::vector<Json>& out) {
  if (!part.is_object()) return;
  if (part.value("type", "") != "Sequence") return out.push_back(part);
  const auto members = part.find("pretokenizers");
  if (members == part.end() || !members->is_array()) return;
  for (const Json& member : *members) flatten(member, out);
}

bool flag(const Json& part, const char* key, bool fallback) {
  const auto at = part.find(key);
  return at != part.end() && at->is_boolean() ? at->get<bool>() : fallback;
}

/// The expression of a Split with the behaviour Isolated; empty for any other part.
std::string split_expression(const Json& part) {
  if (part.value("type", "") != "Split" || part.value("behavior", "") != "Isolated" ||
      flag(part, "invert", false)) {
    return "";
  }
  const auto pattern = part.find("pattern");
  return pattern != part.end() && pattern->is_object() ? pattern->value("Regex", "") : "";
}

}  // namespace

std::optional<NamedPreTokenizer> find_pre_tokenizer(const Json& pre_tokenizer) {
  std::vector<Json> parts;
  flatten(pre_tokenizer, parts);
  if (parts.empty() || parts.size() > 2) return std::nullopt;
  const Json& bytes = parts.back();
  if (bytes.value("type", "") != "ByteLevel" || flag(bytes, "add_prefix_space", true)) {
    return std::nullopt;
  }
  std::string expression;
  bool digits = false;
  if (parts.size() == 2) {
    digits = parts[0].value("type", "") == "Digits" && flag(parts[0], "individual_digits", false);
    expression = split_expression(parts[0]);
    if (!digits && expression.empty()) return std::nullopt;
  }
  if (flag(bytes, "use_regex", true) != expression.empty()) return std::nullopt;
  for (const Row& row : rows) {
    if (row.expression == expression && row.digits == digits) return row.pre;
  }
  return std::nullopt;
}

std::optional<NamedPreTokenizer> pre_tokenizer_named(std::string_view name) {
  for (const auto& [alias, known] : aliases) {
    if (alias == name) name = known;
  }
  const Row* row = find_row(name);
  return row == nullptr ? std::nullopt : std::optional(row->pre);
}

Json pre_tokenizer_of(const NamedPreTokenizer& pre) {
  const Row& row = *find_row(pre.name);
  const Json bytes{{"type", "ByteLevel"},
                   {"add_prefix_space", false},
                   {"trim_offsets", true},
                   {"use_regex", row.expression.empty()}};
  if (row.expression.empty() && !row.digits) return bytes;
  Json before{{"type", "Digits"}, {"individual_digits", true}};
  if (!row.digits) {
    before = {{"type", "Split"},
              {"pattern", {{"Regex", row.expression}}},
              {"behavior", "Isolated"},
              {"invert", false}};
  }
  return {{"type", "Sequence"}, {"pretokenizers", {before, bytes}}};
}

}  // namespace moebius
