#include "text/added_tokens.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/unicode.h"
#include "base/utf8.h"

namespace moebius {

StringSet::StringSet(std::vector<std::pair<std::string, std::int32_t>> entries)
    : entries_(std::move(entries)) {
  const auto text = [](const auto& entry) -> const std::string& { return entry.first; };
  std::ranges::stable_sort(entries_, {}, text);
  const auto same = [&](const auto& a, const auto& b) { return text(a) == text(b); };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
  if (!entries_.empty() && entries_[0].first.empty()) entries_.erase(entries_.begin());
  for (const auto& entry : entries_) ++starts_[static_cast<unsigned char>(entry.first[0]) + 1u];
  std::partial_sum(starts_.begin(), starts_.end(), starts_.begin());
}

StringSet::Match StringSet::longest_at(std::string_view text, std::size_t at) const {
  const std::string_view rest = text.substr(at);
  const auto first = static_cast<unsigned char>(rest[0]);
  // Entries [low, high) share the first `size` bytes with `rest`. An entry of exactly `size` bytes
  // comes first among them.
  std::size_t low = starts_[first], high = starts_[first + 1u];
  Match best;
  for (std::size_t size = 1; low < high; ++size) {
    if (high - low == 1) {
      const auto& [entry, value] = entries_[low];
      return rest.starts_with(entry) ? Match{value, entry.size()} : best;
    }
    if (entries_[low].first.size() == size) best = {entries_[low++].second, size};
    if (size == rest.size()) break;
    const auto byte_at = [&](const auto& entry) {
      return static_cast<unsigned char>(entry.first[size]);
    };
    const auto begin = entries_.begin() + static_cast<std::ptrdiff_t>(low);
    const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(high);
    const auto byte = static_cast<unsigned char>(rest[size]);
    low = static_cast<std::size_t>(std::ranges::lower_bound(begin, end, byte, {}, byte_at) -
                                   entries_.begin());
    high = static_cast<std::size_t>(std::ranges::upper_bound(begin, end, byte, {}, byte_at) -
                                    entries_.begin());
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

/// Offset of the white space at the end of `text`.
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

AddedTokens::AddedTokens(const nlohmann::json& list, const std::string& where,
                         const Vocabulary& model) {
  if (list.is_null()) return;
  if (!list.is_array()) fail("{}: \"added_tokens\" is not a list", where);
  next_id_ = static_cast<std::int32_t>(model.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Json json(list[i]);
    const JsonView entry(json, fmt::format("{}: added_tokens[{}]", where, i));
    entry.integer_or("id", 0, 0, std::numeric_limits<std::int32_t>::max());
    const Token token{entry.string("content"),
                      entry.boolean_or("special", false),
                      entry.boolean_or("normalized", false),
                      entry.boolean_or("lstrip", false),
                      entry.boolean_or("rstrip", false),
                      entry.boolean_or("single_word", false),
                      entry.string("content")};
    if (token.content.empty()) continue;
    (token.special ? special_contents_ : other_contents_).push_back(&add(token, model));
  }
}

void AddedTokens::find_in_text(const Normalizer* normalizer) {
  // Special ones first: they take precedence over others with the same normalised form.
  std::vector<const std::string*> contents = special_contents_;
  contents.insert(contents.end(), other_contents_.begin(), other_contents_.end());
  std::vector<std::pair<std::string, std::int32_t>> raw, normalized;
  for (const std::string* content : contents) {
    const std::int32_t id = ids_.find(*content)->second;
    Token& token = tokens_.at(id);
    if (token.normalized && normalizer != nullptr) {
      AlignedText text({token.content});
      normalizer->apply(text);
      token.text = text.text();
    }
    (token.normalized ? normalized : raw).emplace_back(token.text, id);
  }
  raw_ = StringSet(std::move(raw));
  normalized_ = StringSet(std::move(normalized));
}

const std::string& AddedTokens::add(Token token, const Vocabulary& model) {
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
  const auto entry = ids_.insert_or_assign(token.content, id).first;
  tokens_.insert_or_assign(id, std::move(token));
  return entry->first;
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

void AddedTokens::split(const StringSet& set, AlignedView view, const Piece& piece) const {
  const std::string_view text = view.text;
  std::size_t from = 0;  // end of the last part passed to `piece`
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
    if (begin >= end) continue;  // rstrip of the previous token has taken all of it
    if (from < begin) piece(-1, view.sub(from, begin));
    piece(match.value, view.sub(begin, end));
    from = end;
  }
  if (from < text.size()) piece(-1, view.sub(from, text.size()));
}

}  // namespace moebius
