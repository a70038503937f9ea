// Tokenizers that consist of a SentencePiece model. The SentencePiece library encodes; decoding
// uses the stages of every tokenizer (decoder.h), because the library cannot stream.
#include <sentencepiece_processor.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/companion_tokens.h"
#include "text/decoder_stages.h"
#include "text/sentencepiece_proto.h"
#include "text/tokenizer_document.h"

namespace moebius {
namespace {

using sentencepiece::SentencePieceProcessor;

class SentencePieceModel final : public TokenizerModel {
 public:
  /// `bytes` are those of `file`, which errors name. `spreads_bytes`: each byte piece stands for
  /// its whole character, as in transformers; otherwise the last one of the character does.
  SentencePieceModel(const std::string& bytes, const fs::path& file, bool spreads_bytes)
      : spreads_bytes_(spreads_bytes) {
    const auto status = processor_.LoadFromSerializedProto(bytes);
    if (!status.ok()) fail("{}: not a SentencePiece model: {}", file.string(), status.ToString());
    for (int id = 0; id < processor_.GetPieceSize(); ++id) {
      if (!vocabulary_.add(processor_.IdToPiece(id), id)) {
        fail("{}: the piece {} (\"{}\") occurs twice", file.string(), id, processor_.IdToPiece(id));
      }
    }
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::unique_ptr<WordEncoder> encoder() const override;
  const SentencePieceProcessor& processor() const { return processor_; }

 private:
  SentencePieceProcessor processor_;
  Vocabulary vocabulary_;
  bool spreads_bytes_;
};

class SentencePieceEncoder final : public WordEncoder {
 public:
  SentencePieceEncoder(const SentencePieceProcessor& processor, bool spreads_bytes)
      : processor_(processor), spreads_bytes_(spreads_bytes) {}

  void encode(std::string_view word, std::vector<TokenPiece>& out) override {
    sentencepiece::ImmutableSentencePieceText text;
    const auto status = processor_.Encode({word.data(), word.size()}, text.mutable_proto());
    if (!status.ok()) fail("SentencePiece cannot encode the text: {}", status.ToString());
    const std::size_t first = out.size();
    out.reserve(first + text.pieces_size());
    for (const auto& piece : text.pieces()) {
      out.push_back({static_cast<std::int32_t>(piece.id()), piece.begin(), piece.end()});
    }
    if (!spreads_bytes_) return;
    for (std::size_t i = out.size(); i-- > first;) {
      const bool is_byte = processor_.IsByte(out[i].id);
      if (is_byte && out[i].begin == out[i].end && i + 1 < out.size()) {
        out[i].begin = out[i + 1].begin;
        out[i].end = out[i + 1].end;
      }
    }
  }

 private:
  const SentencePieceProcessor& processor_;
  bool spreads_bytes_;
};

std::unique_ptr<WordEncoder> SentencePieceModel::encoder() const {
  return std::make_unique<SentencePieceEncoder>(processor_, spreads_bytes_);
}

nlohmann::json special_pieces(const SentencePieceProcessor& processor) {
  nlohmann::json out = nlohmann::json::array();
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    if (!processor.IsControl(id) && !processor.IsUnknown(id)) continue;
    out.push_back({{"content", processor.IdToPiece(id)}, {"special", true}});
  }
  return out;
}

/// How the library decodes pieces, found by decoding a few.
PieceSpelling spelling_of(const SentencePieceProcessor& processor) {
  const auto decode = [&](const std::vector<int>& ids) {
    std::string text;
    const auto status = processor.Decode(ids, &text);
    if (!status.ok()) fail("SentencePiece cannot decode: {}", status.ToString());
    return text;
  };
  PieceSpelling out;
  if (processor.unk_id() >= 0) {
    out.unknown = processor.IdToPiece(processor.unk_id());
    out.unknown_text = decode({processor.unk_id()});
  }
  const int space = processor.PieceToId(std::string(kVisibleSpace));
  if (processor.IsUnknown(space)) return out;
  out.leading = !decode({space}).empty()         ? PieceSpelling::Leading::keep
                : decode({space, space}).empty() ? PieceSpelling::Leading::drop_all
                                                 : PieceSpelling::Leading::drop_one;
  return out;
}

/// A SentencePiece model and the files beside it.
struct SentencePieceFiles {
  explicit SentencePieceFiles(const fs::path& file)
      : of_class(find_tokenizer_class(file.parent_path())),
        companions(file.parent_path(), TokenizerClass::llama),
        as_transformers(companions.name_any() || !of_class.name.empty()),
        bytes(read_file(file, std::size_t{256} << 20)) {
    adds_space = adds_dummy_prefix(bytes) || of_class.kind == TokenizerClass::llama;
    if (as_transformers) bytes += kKeepSpaces;
    model = std::make_unique<SentencePieceModel>(bytes, file, as_transformers);
    if (as_transformers) companions.default_extra(declared_tokens());
  }

  NamedTokenizerClass of_class;
  CompanionTokens companions;
  /// Whether added tokens and spaces are treated as in transformers, not as in the library.
  bool as_transformers;
  bool adds_space = true;  ///< in front of a text, unless tokenizer_config.json says otherwise
  std::string bytes;
  std::unique_ptr<const SentencePieceModel> model;

  const SentencePieceProcessor& processor() const { return model->processor(); }

  /// Where a text gets a space in front: a scheme of the pre-tokenizer Metaspace.
  std::string prepend_scheme() const {
    const JsonView config = companions.config();
    if (!config.boolean_or("add_prefix_space", adds_space)) return "never";
    return config.boolean_or("legacy", false) ? "always" : "first";
  }

 private:
  /// Pieces that are found in a text as a whole.
  std::vector<AddedTokenEntry> declared_tokens() const {
    std::vector<AddedTokenEntry> out;
    const std::vector<PieceType> types = piece_types(bytes);
    const int count = std::min(processor().GetPieceSize(), static_cast<int>(types.size()));
    for (int id = 0; id < count; ++id) {
      const PieceType type = types[static_cast<std::size_t>(id)];
      if (type != PieceType::control && type != PieceType::user_defined) continue;
      out.push_back({processor().IdToPiece(id), type == PieceType::control});
    }
    return out;
  }
};

/// The decoder of Llama's tokenizer in transformers.
Json decoder_of_llama(bool drops_first_space) {
  Json stages = Json::array();
  stages.push_back(
      {{"type", "Replace"}, {"pattern", {{"String", kVisibleSpace}}}, {"content", " "}});
  stages.push_back({{"type", "ByteFallback"}});
  stages.push_back({{"type", "Fuse"}});
  if (drops_first_space) {
    stages.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", stages}};
}

/// Added tokens are cut out of the text first; what lies between them goes to the library, with
/// its spaces marked already.
void describe_as_transformers(const SentencePieceFiles& files, TokenizerDocument& out) {
  const Vocabulary& vocabulary = files.model->vocabulary();
  const CompanionTokens& companions = files.companions;
  out.added_tokens = companions.extend(
      nullptr, [&](const std::string& content) { return vocabulary.id_of(content).has_value(); });
  const std::string scheme = files.prepend_scheme();
  out.parts["pre_tokenizer"] = {{"type", "Metaspace"},
                                {"replacement", kVisibleSpace},
                                {"prepend_scheme", scheme},
                                {"split", false}};
  const AddedTokens added(out.added_tokens, out.where, vocabulary);
  const auto id_of = [&](const char* flag, bool by_default, const char* name) {
    if (!companions.config().boolean_or(flag, by_default)) return std::int32_t{-1};
    return added.id_of(companions.named(name)).value_or(-1);
  };
  const std::int32_t bos = id_of("add_bos_token", true, "bos_token");
  const std::int32_t eos = id_of("add_eos_token", false, "eos_token");
  out.parts["post_processor"] = template_around(bos < 0 ? "" : companions.named("bos_token"), bos,
                                                eos < 0 ? "" : companions.named("eos_token"), eos);
  out.parts["decoder"] = decoder_of_llama(scheme != "never");
  out.decoder = Decoder({out.parts, out.where}, "decoder");
}

void describe_as_library(const SentencePieceFiles& files, TokenizerDocument& out) {
  const SentencePieceProcessor& processor = files.processor();
  const auto token = [&](const char* flag, bool by_default, int id) {
    const bool wanted = id >= 0 && files.companions.config().boolean_or(flag, by_default);
    return wanted ? processor.IdToPiece(id) : std::string();
  };
  out.added_tokens = special_pieces(processor);
  out.finds_added_tokens = false;
  out.parts["post_processor"] =
      template_around(token("add_bos_token", true, processor.bos_id()), processor.bos_id(),
                      token("add_eos_token", false, processor.eos_id()), processor.eos_id());
  out.decoder = Decoder({[spelling = spelling_of(processor)](PieceSink& next) {
                           return make_sentencepiece_stage(spelling, next);
                         },
                         make_byte_fallback_stage});
}

}  // namespace

SentencePieces describe_sentencepiece(const fs::path& file) {
  const SentencePieceFiles files(file);
  const SentencePieceProcessor& processor = files.processor();
  SentencePieces out;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    out.scores.push_back(processor.GetScore(id));
    out.plain.push_back(!processor.IsControl(id) && !processor.IsUnknown(id) &&
                        !processor.IsUnused(id) && !processor.IsByte(id));
  }
  if (processor.unk_id() >= 0) out.unknown = processor.IdToPiece(processor.unk_id());
  const auto pieces_of = [&](const std::string& text) {  // joined
    std::vector<std::string> pieces;
    const auto status = processor.Encode(text, &pieces);
    if (!status.ok()) fail("{}: cannot encode: {}", file.string(), status.ToString());
    return fmt::format("{}", fmt::join(pieces, ""));
  };
  const std::string space(kVisibleSpace);
  out.prepends_space =
      files.as_transformers ? files.prepend_scheme() != "never" : pieces_of("a").starts_with(space);
  out.prepends_only_first = files.as_transformers && files.prepend_scheme() == "first";
  out.keeps_spaces = pieces_of("a  b").ends_with(space + space + "b");
  out.keeps_characters = pieces_of("\uFB01") != pieces_of("fi");  // a ligature
  return out;
}

TokenizerDocument read_sentencepiece(const fs::path& file) {
  SentencePieceFiles files(file);
  TokenizerDocument out;
  out.where = file.string();
  if (files.as_transformers) {
    describe_as_transformers(files, out);
  } else {
    describe_as_library(files, out);
  }
  out.model = std::move(files.model);
  return out;
}

}  // namespace moebius
