#include "text/bpe_model.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/utf8.h"
#include "text/bpe_encoder.h"

namespace moebius {
namespace {

constexpr std::int64_t kIdLimit = std::int64_t{1} << 24;

/// The two tokens of one entry, written as "a b" or as ["a", "b"].
Merge parts_of(const nlohmann::json& entry, std::size_t rank, const std::string& where) {
  if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
    return {entry[0].get<std::string>(), entry[1].get<std::string>()};
  }
  if (entry.is_string()) {
    const auto& text = entry.get_ref<const std::string&>();
    const std::size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  fail("{}: merges: entry {} is not a pair of tokens: {}", where, rank + 1, entry.dump());
}

}  // namespace

std::vector<Merge> merge_pairs(const nlohmann::json& merges, const std::string& where) {
  std::vector<Merge> out;
  for (const nlohmann::json& entry : merges) {
    if (entry.is_string() && entry.get_ref<const std::string&>().starts_with("#version")) continue;
    out.push_back(parts_of(entry, out.size(), where));
  }
  return out;
}

std::pair<char32_t, char32_t> edges(std::string_view text) {
  std::size_t at = 0;
  const char32_t first = next_code_point(text, at);
  char32_t last = first;
  while (at < text.size()) last = next_code_point(text, at);
  return {first, last};
}

BpeModel::BpeModel(const JsonView& options, const nlohmann::json& vocab,
                   const nlohmann::json& merges) {
  if (options.has("dropout") && options.number("dropout") != 0) {
    options.fail_key("dropout",
                     "is not supported: the same text would give other tokens each time");
  }
  prefix_ = options.string_or("continuing_subword_prefix", "");
  suffix_ = options.string_or("end_of_word_suffix", "");
  byte_fallback_ = options.boolean_or("byte_fallback", false);
  fuse_unknown_ = options.boolean_or("fuse_unk", false);
  ignore_merges_ = options.boolean_or("ignore_merges", false);
  has_unknown_ = options.has("unk_token");
  unknown_ = options.string_or("unk_token", "");
  load_vocabulary(vocab, options.where());
  load_merges(merges, options.where());
}

void BpeModel::load_vocabulary(const nlohmann::json& vocab, const std::string& where) {
  if (!vocab.is_object()) fail("{}: \"vocab\" is missing or not an object", where);
  ascii_ids_.fill(-1);
  byte_ids_.fill(-1);
  for (const auto& [token, number] : vocab.items()) {
    if (!number.is_number_integer()) {
      fail("{}: vocab: the id of \"{}\" is not an integer", where, token);
    }
    // An unsigned number above the signed range converts to a negative one, which is refused too.
    const auto wide = number.get<std::int64_t>();
    if (wide < 0 || wide >= kIdLimit) {
      fail("{}: vocab: the id of \"{}\" is {}, which is not in [0, {}]", where, token,
           number.dump(), kIdLimit - 1);
    }
    const auto id = static_cast<std::int32_t>(wide);
    if (!vocabulary_.add(token, id)) {
      fail("{}: vocab: \"{}\" and \"{}\" have the same id {}", where, *vocabulary_.token_of(id),
           token, id);
    }
    if (token.empty()) continue;
    std::size_t at = 0;
    const char32_t c = next_code_point(token, at);
    if (at != token.size()) continue;
    if (c < 128) {
      ascii_ids_[c] = id;
    } else {
      char_ids_.set(c, {id, 0});
    }
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = vocabulary_.id_of(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
}

void BpeModel::load_merges(const nlohmann::json& merges, const std::string& where) {
  if (!merges.is_array()) fail("{}: \"merges\" is missing or not a list", where);
  merges_ = FlatMap(merges.size());
  std::int32_t rank = 0;
  for (const auto& [left, right] : merge_pairs(merges, where)) {
    add_merge(left, right, rank, fmt::format("{}: merges: entry {}", where, rank + 1));
    ++rank;
  }
}

void BpeModel::add_merge(const std::string& left, const std::string& right, std::int32_t rank,
                         const std::string& where) {
  const auto id = [&](const std::string& token) {
    const auto found = vocabulary_.id_of(token);
    if (!found) {
      fail("{} (\"{}\" + \"{}\"): \"{}\" is not in the vocabulary", where, left, right, token);
    }
    return *found;
  };
  const auto l = static_cast<std::uint32_t>(id(left)), r = static_cast<std::uint32_t>(id(right));
  if (right.size() < prefix_.size()) {
    fail("{}: \"{}\" is shorter than the prefix \"{}\"", where, right, prefix_);
  }
  merges_.set(FlatMap::pair_key(l, r), {rank, id(left + right.substr(prefix_.size()))});
  if (left.empty() || right.empty()) {
    cuts_ = false;  // an empty token has no first or last character
    return;
  }
  const char32_t last = edges(left).second, first = edges(right).first;
  if (last < 128 && first < 128) {
    ascii_joins_.set(last * 128 + first);
  } else {
    joins_.set(FlatMap::pair_key(last, first), {});
  }
}

std::unique_ptr<WordEncoder> BpeModel::encoder() const {
  return std::make_unique<BpeEncoder>(*this);
}

std::string BpeModel::affixed(std::string_view character, bool first, bool last) const {
  std::string out = first ? "" : prefix_;
  out += character;
  if (last) out += suffix_;
  return out;
}

bool BpeModel::has_bytes(std::string_view text) const {
  return std::all_of(text.begin(), text.end(),
                     [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)] >= 0; });
}

std::int32_t BpeModel::unknown_id() const {
  const auto id = vocabulary_.id_of(unknown_);
  if (!id)
    fail("the text needs the unknown token \"{}\", which is not in the vocabulary", unknown_);
  return *id;
}

}  // namespace moebius
