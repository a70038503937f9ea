#include "text/added_tokens.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/utf8.h"
#include "text/unicode.h"

namespace moebius {

void StringSet::add(std::string_view text, std::int32_t value) {
  if (text.empty()) return;
  starts_[static_cast<unsigned char>(text[0])] = true;
  std::uint32_t node = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto key = FlatMap::pair_key(node, static_cast<unsigned char>(text[i]));
    const FlatMap::Value* found = nodes_.find(key);
    FlatMap::Value edge = found != nullptr ? *found : FlatMap::Value{count_++, -1};
    if (i + 1 == text.size() && edge.second < 0) edge.second = value;
    nodes_.set(key, edge);
    node = static_cast<std::uint32_t>(edge.first);
  }
}

StringSet::Match StringSet::longest_at(std::string_view text, std::size_t at) const {
  Match best;
  std::uint32_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto key = FlatMap::pair_key(node, static_cast<unsigned char>(text[i]));
    const FlatMap::Value* edge = nodes_.find(key);
    if (edge == nullptr) break;
    if (edge->second >= 0) best = {edge->second, i + 1 - at};
    node = static_cast<std::uint32_t>(edge->first);
  }
  return best;
}

namespace {

bool ends_with_word(std::string_view text) {
  std::size_t at = text.size();
  while (at > 0 && (text[--at] & 0xC0) == 0x80) {
  }
  return !text.empty() && is_word_char(next_code_point(text, at));
}

bool starts_with_word(std::string_view text) {
  std::size_t at = 0;
  return !text.empty() && is_word_char(next_code_point(text, at));
}

/// Where the white space begins that `text` ends with.
std::size_t trailing_space(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    std::size_t at = end;
    while (at > 0 && (text[--at] & 0xC0) == 0x80) {
    }
    const std::size_t begin = at;
    if (!is_white_space(next_code_point(text, at))) break;
    end = begin;
  }
  return end;
}

std::size_t leading_space(std::string_view text) {
  std::size_t end = 0;
  while (end < text.size()) {
    std::size_t at = end;
    if (!is_white_space(next_code_point(text, at))) break;
    end = at;
  }
  return end;
}

}  // namespace

AddedTokens::AddedTokens(const JsonView& file, const Vocabulary& model,
                         const Normalizer* normalizer) {
  if (!file.has("added_tokens")) return;
  next_id_ = static_cast<std::int32_t>(model.size());
  std::vector<Token> listed;
  for (const JsonView& entry : file.objects("added_tokens")) {
    listed.push_back({entry.string("content"),
                      entry.boolean_or("special", false),
                      entry.boolean_or("normalized", false),
                      entry.boolean_or("lstrip", false),
                      entry.boolean_or("rstrip", false),
                      entry.boolean_or("single_word", false),
                      {}});
    if (!listed.back().content.empty()) add(listed.back(), model);
  }
  // Special ones first: of two that read the same after normalisation they win.
  std::stable_partition(listed.begin(), listed.end(), [](const Token& t) { return t.special; });
  for (const Token& token : listed) {
    if (token.content.empty()) continue;
    const std::int32_t id = ids_.find(token.content)->second;
    std::string& text = tokens_.at(id).text;
    text = token.content;
    if (token.normalized && normalizer != nullptr) normalizer->apply(text);
    (token.normalized ? normalized_ : raw_).add(text, id);
  }
}

void AddedTokens::add(Token token, const Vocabulary& model) {
  if (token.special) special_.insert(token.content);
  std::int32_t id = 0;
  if (const auto known = ids_.find(token.content); known != ids_.end()) {
    id = known->second;
  } else if (const auto of_model = model.id_of(token.content)) {
    id = *of_model;
  } else {
    id = next_id_;
  }
  next_id_ = std::max(next_id_, id + 1);
  ids_.insert_or_assign(token.content, id);
  tokens_.insert_or_assign(id, std::move(token));
}

std::optional<std::int32_t> AddedTokens::id_of(std::string_view content) const {
  const auto at = ids_.find(content);
  return at == ids_.end() ? std::nullopt : std::optional(at->second);
}

const std::string* AddedTokens::token_of(std::int32_t id) const {
  const auto at = tokens_.find(id);
  return at == tokens_.end() ? nullptr : &at->second.content;
}

const std::string* AddedTokens::text_of(std::int32_t id) const {
  const auto at = tokens_.find(id);
  return at == tokens_.end() ? nullptr : &at->second.text;
}

std::int32_t AddedTokens::max_id() const {
  std::int32_t max = -1;
  for (const auto& [id, token] : tokens_) max = std::max(max, id);
  return max;
}

void AddedTokens::split(const StringSet& set, std::string_view text, const Piece& piece) const {
  std::size_t from = 0;  // end of what was given out
  for (std::size_t at = 0; at < text.size() && !set.empty();) {
    if (!set.may_start(text[at])) {
      ++at;
      continue;
    }
    const StringSet::Match match = set.longest_at(text, at);
    if (match.value < 0) {
      ++at;
      continue;
    }
    std::size_t begin = at, end = at + match.size;
    at = end;
    const Token& token = tokens_.at(match.value);
    if (token.single_word &&
        (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) {
      continue;
    }
    if (token.lstrip) begin = std::max(trailing_space(text.substr(0, begin)), from);
    if (token.rstrip) end += leading_space(text.substr(end));
    if (begin >= end) continue;  // the token before has stripped all of it away
    if (from < begin) piece(-1, text.substr(from, begin - from));
    piece(match.value, text.substr(begin, end - begin));
    from = end;
  }
  if (from < text.size()) piece(-1, text.substr(from));
}

}  // namespace moebius
