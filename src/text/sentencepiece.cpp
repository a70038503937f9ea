// SentencePiece models, encoded by their own library; the other parts say what it does to text on
// the way back, so that decoding and streaming are those of every tokenizer.
#include <sentencepiece_processor.h>

#include "base/error.h"
#include "text/decoder_stages.h"
#include "text/special_tokens.h"
#include "text/tokenizer_document.h"

namespace moebius {
namespace {

using sentencepiece::SentencePieceProcessor;

class SentencePieceModel final : public Model {
 public:
  explicit SentencePieceModel(const fs::path& file) {
    const auto status = processor_.LoadFromSerializedProto(read_file(file, std::size_t{256} << 20));
    if (!status.ok()) fail("{}: no SentencePiece model: {}", file.string(), status.ToString());
    for (int id = 0; id < processor_.GetPieceSize(); ++id) {
      if (!vocabulary_.add(processor_.IdToPiece(id), id)) {
        fail("{}: the piece {} (\"{}\") is there twice", file.string(), id,
             processor_.IdToPiece(id));
      }
    }
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::unique_ptr<WordEncoder> encoder() const override;
  const SentencePieceProcessor& processor() const { return processor_; }

 private:
  SentencePieceProcessor processor_;
  Vocabulary vocabulary_;
};

class SentencePieceEncoder final : public WordEncoder {
 public:
  explicit SentencePieceEncoder(const SentencePieceProcessor& processor) : processor_(processor) {}

  void encode(std::string_view word, std::vector<Piece>& out) override {
    sentencepiece::ImmutableSentencePieceText text;
    const auto status = processor_.Encode({word.data(), word.size()}, text.mutable_proto());
    if (!status.ok()) fail("SentencePiece cannot encode the text: {}", status.ToString());
    out.reserve(out.size() + text.pieces_size());
    for (const auto& piece : text.pieces()) {
      out.push_back({static_cast<std::int32_t>(piece.id()), piece.begin(), piece.end()});
    }
  }

 private:
  const SentencePieceProcessor& processor_;
};

std::unique_ptr<WordEncoder> SentencePieceModel::encoder() const {
  return std::make_unique<SentencePieceEncoder>(processor_);
}

nlohmann::json special_pieces(const SentencePieceProcessor& processor) {
  nlohmann::json out = nlohmann::json::array();
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    if (!processor.IsControl(id) && !processor.IsUnknown(id)) continue;
    out.push_back({{"content", processor.IdToPiece(id)}, {"special", true}});
  }
  return out;
}

/// How the library writes pieces, learnt from what it makes of a few.
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

}  // namespace

SentencePieces describe_sentencepiece(const fs::path& file) {
  const SentencePieceModel model(file);
  const SentencePieceProcessor& processor = model.processor();
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
  out.prepends_space = pieces_of("a").starts_with(space);
  out.keeps_spaces = pieces_of("a  b").ends_with(space + space + "b");
  out.keeps_characters = pieces_of("\uFB01") != pieces_of("fi");  // a ligature
  return out;
}

TokenizerDocument read_sentencepiece(const fs::path& file) {
  auto model = std::make_unique<SentencePieceModel>(file);
  const SentencePieceProcessor& processor = model->processor();
  const SpecialTokens special(file.parent_path(), {});
  const auto token = [&](const char* flag, bool by_default, int id) {
    const bool wanted = id >= 0 && special.config().boolean_or(flag, by_default);
    return wanted ? processor.IdToPiece(id) : std::string();
  };
  TokenizerDocument out;
  out.where = file.string();
  out.added_tokens = special_pieces(processor);
  out.finds_added_tokens = false;
  out.parts["post_processor"] =
      template_around(token("add_bos_token", true, processor.bos_id()), processor.bos_id(),
                      token("add_eos_token", false, processor.eos_id()), processor.eos_id());
  out.decoder = Decoder({[spelling = spelling_of(processor)](PieceSink& next) {
                           return make_sentencepiece_stage(spelling, next);
                         },
                         make_byte_fallback_stage});
  out.model = std::move(model);
  return out;
}

}  // namespace moebius
