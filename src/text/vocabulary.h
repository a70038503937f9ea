// A two-way map between tokens and ids. Ids may have gaps.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace moebius {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};

class Vocabulary {
 public:
  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;
  Vocabulary(const Vocabulary&) = delete;

  /// False, without a change, if the token or its id is present already.
  bool add(std::string_view token, std::int32_t id) {
    const auto [entry, fresh] = ids_.emplace(token, id);
    if (!fresh) return false;
    if (tokens_.emplace(id, &entry->first).second) return true;
    ids_.erase(entry);
    return false;
  }
  std::optional<std::int32_t> id_of(std::string_view token) const {
    const auto at = ids_.find(token);
    return at == ids_.end() ? std::nullopt : std::optional(at->second);
  }
  /// Null if no token has this id.
  const std::string* token_of(std::int32_t id) const {
    const auto at = tokens_.find(id);
    return at == tokens_.end() ? nullptr : at->second;
  }
  std::size_t size() const { return ids_.size(); }

  const auto& ids() const { return ids_; }

 private:
  std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>> ids_;
  std::unordered_map<std::int32_t, const std::string*> tokens_;  // into the keys of `ids_`
};

}  // namespace moebius
