#include "gguf/tokenizer.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/utf8.h"
#include "gguf/pre_tokenizer_names.h"
#include "text/bpe_model.h"
#include "text/chat_template.h"
#include "text/metaspace.h"
#include "text/tokenizer.h"
#include "text/tokenizer_document.h"

namespace moebius {
namespace {

/// Types of tokens; the values are those of the GGUF format.
enum TokenType : std::int64_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

const std::string space = "\u2581";          // in place of a space in tokens with scores
constexpr std::size_t longest_token = 4096;  // bytes; every split of a token is looked up
constexpr const char* spaces_are_kept =
    "llama.cpp keeps spaces that the tokenizer drops: texts that begin or end with one, or have "
    "two in a row, get other ids there";
constexpr const char* space_after_special =
    "llama.cpp puts a space before what follows a special token, the tokenizer only before the "
    "first text";
constexpr const char* key_prefix = "tokenizer.ggml.";

std::string key(std::string_view name) {
  return fmt::format("{}{}", key_prefix, name);
}

std::string byte_token(int value) {
  return fmt::format("<0x{:02X}>", value);
}

/// Calls `fn(left, right)` for every split of `text` into two non-empty parts between characters.
template <class Fn>
void for_each_split(std::string_view text, Fn fn) {
  std::size_t at = 0;
  next_code_point(text, at);
  for (; at < text.size(); next_code_point(text, at)) fn(text.substr(0, at), text.substr(at));
}

/// The value of `name` in a JSON object; null if it is absent.
Json member(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(name);
  return at == object.end() ? Json() : *at;
}

std::string type_of(const Json& part) {
  const Json type = member(part, "type");
  return type.is_string() ? type.get<std::string>() : "";
}

// ---- To GGUF ---------------------------------------------------------------------------------

/// A tokenizer as its files describe it: parts, options of the model, and merges or scores.
struct SourceTokenizer {
  std::string where;
  Json parts;
  Json options = Json::object();
  std::vector<Merge> merges;
  std::optional<SentencePieces> pieces;  ///< of a tokenizer with scores instead of merges
  nlohmann::json added_tokens;
};

SourceTokenizer read_source(const fs::path& model) {
  SourceTokenizer out;
  nlohmann::json merges;
  const auto take_parts = [&](TokenizerDocument document) {
    out.where = document.where;
    out.parts = std::move(document.parts);
    out.added_tokens = std::move(document.added_tokens);
  };
  const auto [layout, file] = require_tokenizer(model);
  if (layout == TokenizerFiles::Layout::tokenizer_json) {
    nlohmann::json document = read_large_json(file);
    out.where = file.string();
    merges = std::move(document["model"]["merges"]);
    const nlohmann::json vocab = std::move(document["model"]["vocab"]);
    document["model"].erase("merges");
    document["model"].erase("vocab");
    out.options = Json(document["model"]);
    out.added_tokens = std::move(document["added_tokens"]);
    document.erase("added_tokens");
    document.erase("model");
    out.parts = Json(document);
    apply_companions(model, out.parts, out.added_tokens,
                     [&](const std::string& content) { return vocab.contains(content); });
  } else if (layout == TokenizerFiles::Layout::sentencepiece) {
    take_parts(read_sentencepiece(file));
    out.pieces = describe_sentencepiece(file);
    if (!out.pieces->unknown.empty()) out.options["unk_token"] = out.pieces->unknown;
  } else {
    take_parts(read_vocab_and_merges(model));
    merges = read_merges(model / "merges.txt");
  }
  out.merges = merge_pairs(merges, out.where);
  return out;
}

class TokenizerWriter {
 public:
  TokenizerWriter(const fs::path& model, const ModelSpec& spec)
      : spec_(spec), tokenizer_(Tokenizer::load(model)), source_(read_source(model)) {}

  GgufTokenizer run() {
    if (tokenizer_.base_vocab_size() > spec_.vocab) {
      fail("{}: has {} ids, the model's vocabulary has {}", source_.where,
           tokenizer_.base_vocab_size(), spec_.vocab);
    }
    if (tokenizer_.vocab_size() > spec_.vocab) {
      out_.warnings.push_back(
          fmt::format("added tokens with ids from {} to {} are left out: the model's vocabulary "
                      "has {} ids",
                      spec_.vocab, tokenizer_.vocab_size() - 1, spec_.vocab));
    }
    for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json value = member(source_.options, affix);
      if (value.is_string() && !value.get<std::string>().empty()) refuse(affix);
    }
    list_tokens();
    if (source_.pieces) {
      write_pieces(*source_.pieces);
    } else if (member(source_.options, "byte_fallback") == true) {
      write_scores(write_spaces(), scores());
    } else {
      write_merges();
    }
    write_special();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view part) const {
    throw Error(
        fmt::format("{}: {}: GGUF cannot express that for llama.cpp", source_.where, part),
        "byte-level BPE that splits words as GPT-2, StarCoder, Qwen2 or Llama 3, and BPE with "
        "byte fallback as Llama 2 can be exported");
  }

  void list_tokens() {
    for (std::int32_t id = 0; id < spec_.vocab; ++id) {
      tokens_.push_back(fmt::format("[PAD{}]", id));
      types_.push_back(unused);
    }
    std::vector<bool> taken(tokens_.size());
    for (std::int32_t id = 0; id < std::min<std::int64_t>(tokenizer_.vocab_size(), spec_.vocab);
         ++id) {
      const auto place = static_cast<std::size_t>(id);
      const std::string* token = token_of(id);
      if (token == nullptr) continue;
      tokens_[place] = *token;
      types_[place] = normal;
      ids_.emplace(*token, id);
    }
    bool after_normalizer = false;
    for (const nlohmann::json& token : source_.added_tokens) {
      const auto content = token.at("content").get<std::string>();
      for (const char* flag : {"lstrip", "rstrip", "single_word"}) {
        if (token.value(flag, false)) refuse(fmt::format("the token {} with {}", content, flag));
      }
      after_normalizer = after_normalizer || token.value("normalized", false);
      const auto at = ids_.find(content);
      if (at == ids_.end()) continue;
      types_[static_cast<std::size_t>(at->second)] =
          token.value("special", false) ? control : user_defined;
    }
    if (after_normalizer && !member(source_.parts, "normalizer").is_null()) {
      out_.warnings.push_back(
          "llama.cpp finds special tokens in a text as it is written, the "
          "tokenizer some only once it is normalised");
    }
    const Json unk = member(source_.options, "unk_token");
    if (!unk.is_string()) return;
    if (const auto at = ids_.find(unk.get<std::string>()); at != ids_.end()) {
      types_[static_cast<std::size_t>(at->second)] = unknown;
      out_.metadata[key("unknown_token_id")] = std::int64_t{at->second};
    }
  }

  /// Null if no token has the id.
  const std::string* token_of(std::int32_t id) const {
    try {
      return &tokenizer_.token_of(id);
    } catch (const Error&) {
      return nullptr;
    }
  }

  void write_merges() {
    const Json normalizer = member(source_.parts, "normalizer");
    if (type_of(normalizer) == "NFC") {
      out_.warnings.push_back(
          "llama.cpp does not normalise: texts that are not in NFC get other "
          "ids there");
    } else if (!normalizer.is_null()) {
      refuse(fmt::format("the normalizer {}", type_of(normalizer)));
    }
    const auto pre = find_pre_tokenizer(member(source_.parts, "pre_tokenizer"));
    if (!pre) refuse("the pre_tokenizer");
    if ((member(source_.options, "ignore_merges") == true) != pre->ignores_merges) {
      refuse(fmt::format("ignore_merges that is not {} beside words split as in {}",
                         pre->ignores_merges, pre->name));
    }
    std::vector<std::string> merges;
    for (const auto& [left, right] : source_.merges) {
      merges.push_back(fmt::format("{} {}", left, right));
    }
    out_.metadata[key("model")] = std::string("gpt2");
    out_.metadata[key("pre")] = std::string(pre->name);
    out_.metadata[key("merges")] = std::move(merges);
  }

  /// Writes a tokenizer with scores. `prefix`: a space is put before a text.
  void write_scores(bool prefix, std::vector<double> scores) {
    for (int value = 0; value < 256; ++value) {
      const auto at = ids_.find(byte_token(value));
      if (at == ids_.end()) refuse(fmt::format("byte_fallback without {}", byte_token(value)));
      types_[static_cast<std::size_t>(at->second)] = byte;
    }
    out_.metadata[key("model")] = std::string("llama");
    out_.metadata[key("pre")] = std::string("default");
    out_.metadata[key("add_space_prefix")] = prefix;
    out_.metadata[key("scores")] = std::move(scores);
  }

  /// The scores of a SentencePiece BPE model are the negative ranks of its merges, the first of
  /// them 0; llama.cpp merges by them as the library does. The scores of other models are log
  /// probabilities, and those of user-defined pieces, which never merge, are 0.
  void write_pieces(const SentencePieces& pieces) {
    std::vector<double> scores = pieces.scores;
    int first_merges = 0;
    for (std::size_t id = 0; id < scores.size(); ++id) {
      if (!pieces.plain[id]) {
        if (types_[id] == normal) types_[id] = unused;
        continue;
      }
      if (types_[id] == user_defined) continue;
      if (scores[id] == 0) ++first_merges;
      if (scores[id] != std::round(scores[id]) || first_merges > 1) {
        refuse(fmt::format("the piece {} with the score {}, which is no rank of a merge",
                           tokens_[id], scores[id]));
      }
    }
    if (!pieces.keeps_characters) {
      out_.warnings.push_back(
          "llama.cpp does not normalise: texts with characters that the tokenizer replaces get "
          "other ids there");
    }
    if (!pieces.keeps_spaces) {
      out_.metadata[key("remove_extra_whitespaces")] = true;
      out_.warnings.push_back(spaces_are_kept);
    }
    if (pieces.prepends_only_first) out_.warnings.push_back(space_after_special);
    scores.resize(tokens_.size());
    write_scores(pieces.prepends_space, std::move(scores));
  }

  /// Checks and writes the treatment of spaces; returns whether one is put before a text.
  bool write_spaces() {
    std::vector<nlohmann::json> steps;  // comparison ignores the order of keys
    const Json normalizer = member(source_.parts, "normalizer");
    if (type_of(normalizer) == "Sequence") {
      for (const Json& step : member(normalizer, "normalizers")) steps.emplace_back(step);
    } else if (!normalizer.is_null()) {
      steps.emplace_back(normalizer);
    }
    const Json pre = member(source_.parts, "pre_tokenizer");
    if (type_of(pre) == "Metaspace") {
      if (!steps.empty()) refuse("a normalizer beside the pre_tokenizer Metaspace");
      if (member(pre, "split") != false) refuse("the pre_tokenizer Metaspace with split");
      const Json scheme = member(pre, "prepend_scheme");
      if (scheme == "first") {
        out_.warnings.push_back(space_after_special);
      }
      return scheme != "never";
    }
    if (!pre.is_null()) refuse(fmt::format("the pre_tokenizer {}", type_of(pre)));
    const nlohmann::json prepend{{"type", "Prepend"}, {"prepend", space}};
    const nlohmann::json replace{
        {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space}};
    const nlohmann::json strip{{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}};
    const nlohmann::json one{
        {"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}};
    if (steps == std::vector<nlohmann::json>{replace}) return false;
    if (steps == std::vector<nlohmann::json>{prepend, replace}) return true;
    if (steps != std::vector<nlohmann::json>{strip, one, prepend, replace})
      refuse("the normalizer");
    out_.metadata[key("remove_extra_whitespaces")] = true;
    out_.warnings.push_back(spaces_are_kept);
    return true;
  }

  /// Scores that make llama.cpp merge in the order of the merges. It joins any two tokens whose
  /// concatenation is a token, so every such pair must be a merge, and the merges that form the
  /// same token must have adjacent ranks.
  std::vector<double> scores() const {
    std::map<std::string, std::map<std::string, std::size_t>>
        pairs;  // ranks by merged token and left part
    for (std::size_t rank = 0; rank < source_.merges.size(); ++rank) {
      const auto& [left, right] = source_.merges[rank];
      pairs[left + right].emplace(left, rank);
    }
    std::vector<double> out(tokens_.size(), 0.0);
    std::vector<std::pair<std::size_t, std::size_t>> spans;  // range of ranks of each token
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      if (types_[id] != normal) continue;
      const auto found = pairs.find(tokens_[id]);
      for_each_split(tokens_[id], [&](std::string_view left, std::string_view right) {
        const bool listed = found != pairs.end() && found->second.contains(std::string(left));
        if (listed || !is_normal(left) || !is_normal(right)) return;
        refuse(
            fmt::format("no merge of \"{}\" and \"{}\", which llama.cpp would join", left, right));
      });
      if (found == pairs.end()) continue;
      std::size_t first = source_.merges.size(), last = 0;
      for (const auto& [left, rank] : found->second) {
        first = std::min(first, rank);
        last = std::max(last, rank);
      }
      spans.emplace_back(first, last);
      out[id] = -static_cast<double>(first) - 1;
    }
    std::sort(spans.begin(), spans.end());
    for (std::size_t s = 1; s < spans.size(); ++s) {
      if (spans[s].first < spans[s - 1].second) refuse("merges that follow no scores");
    }
    return out;
  }

  bool is_normal(std::string_view token) const {
    const auto at = ids_.find(token);
    return at != ids_.end() && types_[static_cast<std::size_t>(at->second)] == normal;
  }

  void write_special() {
    std::optional<std::int64_t> bos = spec_.bos;
    std::vector<std::int64_t> eos = spec_.eos;
    std::optional<std::int64_t> front, back;
    read_template(member(source_.parts, "post_processor"), front, back);
    if (front) bos = front;
    if (back) {
      std::erase(eos, *back);
      eos.insert(eos.begin(), *back);
    }
    out_.metadata[key("add_bos_token")] = front.has_value();
    out_.metadata[key("add_eos_token")] = back.has_value();
    const auto write = [&](const char* name, std::int64_t id) {
      if (id >= 0 && id < spec_.vocab) out_.metadata[key(name)] = id;
    };
    if (bos) write("bos_token_id", *bos);
    constexpr const char* ends[] = {"eos_token_id", "eot_token_id", "eom_token_id"};
    for (std::size_t e = 0; e < eos.size() && e < std::size(ends); ++e) write(ends[e], eos[e]);
    if (eos.size() > std::size(ends)) {
      out_.warnings.push_back(fmt::format("GGUF names {} tokens that end a text, the model has {}",
                                          std::size(ends), eos.size()));
    }
    out_.metadata[key("tokens")] = std::move(tokens_);
    out_.metadata[key("token_type")] = std::move(types_);
  }

  /// Reads the tokens that are put around a text: at most one in front and one at the end.
  void read_template(const Json& part, std::optional<std::int64_t>& front,
                     std::optional<std::int64_t>& back) const {
    const std::string type = type_of(part);
    if (part.is_null() || type == "ByteLevel") return;
    if (type == "Sequence") {
      for (const Json& each : member(part, "processors")) read_template(each, front, back);
      return;
    }
    if (type != "TemplateProcessing") refuse(fmt::format("the post_processor {}", type));
    bool text = false;
    for (const Json& piece : member(part, "single")) {
      const Json special = member(piece, "SpecialToken");
      if (special.is_null()) {
        text = true;
        continue;
      }
      std::optional<std::int64_t>& place = text ? back : front;
      const Json ids = member(
          member(member(part, "special_tokens"), special.at("id").get<std::string>().c_str()),
          "ids");
      if (place || !ids.is_array() || ids.size() != 1) {
        refuse("a post_processor that puts more than a token on a side of a text");
      }
      place = ids[0].get<std::int64_t>();
    }
  }

  const ModelSpec& spec_;
  Tokenizer tokenizer_;
  SourceTokenizer source_;
  GgufTokenizer out_;
  std::vector<std::string> tokens_;
  std::vector<std::int64_t> types_;
  std::map<std::string, std::int32_t, std::less<>> ids_;
};

void add_chat_templates(const fs::path& model, GgufMetadata& out) {
  const std::string key = "tokenizer.chat_template";
  std::vector<std::string> others;
  for (const auto& [name, source] : find_chat_templates(model)) {
    out[name == "default" ? key : fmt::format("{}.{}", key, name)] = source.text;
    if (name != "default") others.push_back(name);
  }
  if (!others.empty()) out["tokenizer.chat_templates"] = std::move(others);
}

// ---- From GGUF -------------------------------------------------------------------------------

class TokenizerReader {
 public:
  explicit TokenizerReader(const GgufHeader& header)
      : header_(header),
        tokens_(header.strings(key("tokens"))),
        types_(header.integers(key("token_type"))) {
    if (tokens_.empty()) header.fail_key(key("tokens"), "is missing or empty");
    types_.resize(tokens_.size(), normal);
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      if (tokens_[id].empty() || find_invalid_utf8(tokens_[id]) != npos) {
        header.fail_key(key("tokens"), fmt::format("has no UTF-8 text for the id {}", id));
      }
      if (tokens_[id].size() > longest_token) {
        header.fail_key(key("tokens"), fmt::format("has {} bytes for the id {}; {} are allowed",
                                                   tokens_[id].size(), id, longest_token));
      }
      if (types_[id] == unused) continue;
      if (!vocab_.emplace(tokens_[id], static_cast<std::int32_t>(id)).second) {
        header.fail_key(key("tokens"), fmt::format("lists \"{}\" twice", tokens_[id]));
      }
    }
  }

  nlohmann::json run() {
    const std::string model = header_.string(key("model"));
    nlohmann::json out{{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
    out["added_tokens"] = added_tokens();
    if (model == "gpt2") {
      read_merges(out);
    } else if (model == "llama") {
      read_scores(out);
    } else {
      throw Error(
          fmt::format("{}: a tokenizer of the model {} is not supported", header_.where, model),
          "gpt2 and llama are");
    }
    out["model"]["vocab"] = vocab_;
    return out;
  }

 private:
  nlohmann::json added_tokens() const {
    nlohmann::json out = nlohmann::json::array();
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      if (types_[id] != control && types_[id] != user_defined && types_[id] != unknown) continue;
      out.push_back({{"id", id},
                     {"content", tokens_[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", types_[id] != user_defined}});
    }
    return out;
  }

  nlohmann::json post_processor(bool adds_bos) const {
    const auto token = [&](const char* flag, bool fallback, const char* name) {
      if (!header_.boolean_or(key(flag), fallback))
        return std::pair(std::string(), std::int32_t{0});
      const std::int64_t id =
          header_.integer(key(name), 0, static_cast<std::int64_t>(tokens_.size()) - 1);
      return std::pair(tokens_[static_cast<std::size_t>(id)], static_cast<std::int32_t>(id));
    };
    const auto [bos, bos_id] = token("add_bos_token", adds_bos, "bos_token_id");
    const auto [eos, eos_id] = token("add_eos_token", false, "eos_token_id");
    if (bos.empty() && eos.empty()) return nullptr;
    return template_around(bos, bos_id, eos, eos_id);
  }

  void read_merges(nlohmann::json& out) const {
    const std::string name = header_.string_or(key("pre"), "default");
    const auto pre = pre_tokenizer_named(name);
    if (!pre) {
      header_.fail_key(key("pre"),
                       fmt::format("is {}, a pre-tokenizer that is not supported", name));
    }
    const nlohmann::json bytes{{"type", "ByteLevel"},
                               {"add_prefix_space", false},
                               {"trim_offsets", true},
                               {"use_regex", true}};
    out["normalizer"] = pre->name == "qwen2" ? nlohmann::json{{"type", "NFC"}} : nlohmann::json();
    out["pre_tokenizer"] = pre_tokenizer_of(*pre);
    out["post_processor"] = post_processor(pre->adds_bos);
    out["decoder"] = bytes;
    out["model"] = {{"type", "BPE"}, {"ignore_merges", pre->ignores_merges}};
    out["model"]["merges"] = header_.strings(key("merges"));
  }

  void read_scores(nlohmann::json& out) const {
    const bool prefix = header_.boolean_or(key("add_space_prefix"), true);
    nlohmann::json steps = nlohmann::json::array();
    if (header_.boolean_or(key("remove_extra_whitespaces"), false)) {
      steps.push_back({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}});
      steps.push_back({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}});
    }
    if (prefix) steps.push_back({{"type", "Prepend"}, {"prepend", space}});
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space}});
    out["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
    out["pre_tokenizer"] = nullptr;
    out["post_processor"] = post_processor(true);
    nlohmann::json stages = nlohmann::json::array();
    stages.push_back({{"type", "Replace"}, {"pattern", {{"String", space}}}, {"content", " "}});
    stages.push_back({{"type", "ByteFallback"}});
    stages.push_back({{"type", "Fuse"}});
    if (prefix) {
      stages.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    }
    out["decoder"] = {{"type", "Sequence"}, {"decoders", stages}};
    const std::int64_t unk = header_.integer_or(key("unknown_token_id"), 0, 0,
                                                static_cast<std::int64_t>(tokens_.size()) - 1);
    out["model"] = {{"type", "BPE"},
                    {"unk_token", tokens_[static_cast<std::size_t>(unk)]},
                    {"fuse_unk", true},
                    {"byte_fallback", true}};
    out["model"]["merges"] = merges_by_score();
  }

  /// All pairs of tokens whose concatenation is a token, the highest score first.
  nlohmann::json merges_by_score() const {
    const std::vector<double> scores = header_.numbers(key("scores"));
    if (scores.size() != tokens_.size()) {
      header_.fail_key(key("scores"),
                       fmt::format("has {} values for {} tokens", scores.size(), tokens_.size()));
    }
    struct Merge {
      double score;
      std::int32_t left, right;
    };
    std::vector<Merge> merges;
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      if (types_[id] != normal) continue;
      const auto begin = static_cast<std::ptrdiff_t>(merges.size());
      for_each_split(tokens_[id], [&](std::string_view left, std::string_view right) {
        const std::int32_t l = normal_id(left), r = normal_id(right);
        if (l >= 0 && r >= 0) merges.push_back({scores[id], l, r});
      });
      std::sort(merges.begin() + begin, merges.end(), [](const Merge& a, const Merge& b) {
        return std::pair(a.left, a.right) < std::pair(b.left, b.right);
      });
    }
    std::stable_sort(merges.begin(), merges.end(),
                     [](const Merge& a, const Merge& b) { return a.score > b.score; });
    nlohmann::json out = nlohmann::json::array();
    for (const Merge& merge : merges) {
      out.push_back({tokens_[static_cast<std::size_t>(merge.left)],
                     tokens_[static_cast<std::size_t>(merge.right)]});
    }
    return out;
  }

  std::int32_t normal_id(std::string_view token) const {
    const auto at = vocab_.find(token);
    const bool found = at != vocab_.end() && types_[static_cast<std::size_t>(at->second)] == normal;
    return found ? at->second : -1;
  }

  const GgufHeader& header_;
  std::vector<std::string> tokens_;
  std::vector<std::int64_t> types_;
  std::map<std::string, std::int32_t, std::less<>> vocab_;
};

}  // namespace

GgufTokenizer tokenizer_to_gguf(const fs::path& model, const ModelSpec& spec) {
  GgufTokenizer out = TokenizerWriter(model, spec).run();
  add_chat_templates(model, out.metadata);
  return out;
}

nlohmann::json tokenizer_of_gguf(const GgufHeader& header) {
  return TokenizerReader(header).run();
}

nlohmann::json tokenizer_config_of_gguf(const GgufHeader& header) {
  const std::vector<std::string> tokens = header.strings(key("tokens"));
  nlohmann::json out = nlohmann::json::object();
  for (const auto& [name, id_key] : {std::pair{"bos_token", "bos_token_id"},
                                     {"eos_token", "eos_token_id"},
                                     {"unk_token", "unknown_token_id"},
                                     {"pad_token", "padding_token_id"}}) {
    if (!header.has(key(id_key))) continue;
    const std::int64_t id =
        header.integer(key(id_key), 0, static_cast<std::int64_t>(tokens.size()) - 1);
    out[name] = tokens[static_cast<std::size_t>(id)];
  }
  constexpr std::string_view base = "tokenizer.chat_template";
  nlohmann::json named = nlohmann::json::array();
  for (auto at = header.metadata.lower_bound(base);
       at != header.metadata.end() && at->first.starts_with(base); ++at) {
    const std::string rest = at->first.substr(base.size());
    if (!rest.empty() && rest[0] != '.') continue;  // tokenizer.chat_templates, the list of names
    named.push_back({{"name", rest.empty() ? "default" : rest.substr(1)},
                     {"template", header.string(at->first)}});
  }
  if (named.size() == 1 && named[0]["name"] == "default") {
    out["chat_template"] = named[0]["template"];
  } else if (!named.empty()) {
    out["chat_template"] = named;
  }
  return out;
}

}  // namespace moebius
