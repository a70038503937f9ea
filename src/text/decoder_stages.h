// The stages of decoder.h, one class each. `next` must outlive the stage.
#pragma once

#include <memory>
#include <string>

#include "text/decoder.h"
#include "text/regex.h"

namespace moebius {

/// Characters of the byte-level alphabet become bytes; all pieces become one.
std::unique_ptr<PieceSink> make_byte_level_stage(PieceSink& next);
/// `<0xE2>` becomes its byte; neighbours among these become one piece.
std::unique_ptr<PieceSink> make_byte_fallback_stage(PieceSink& next);
/// All pieces become one, with `between` where they met.
std::unique_ptr<PieceSink> make_fuse_stage(std::string between, PieceSink& next);
/// Replaces what `pattern` finds within a piece.
std::unique_ptr<PieceSink> make_replace_stage(const Pattern& pattern, std::string content,
                                              PieceSink& next);
/// Takes up to `start` times `content` off a piece's front and up to `stop` times off its end.
std::unique_ptr<PieceSink> make_strip_stage(std::string content, std::size_t start,
                                            std::size_t stop, PieceSink& next);

/// Writes `replacement` as a space; in the first piece as nothing if `drops_first`.
std::unique_ptr<PieceSink> make_metaspace_stage(std::string replacement, bool drops_first,
                                                PieceSink& next);
/// Puts a space where a piece ends with `suffix`, none behind the last.
std::unique_ptr<PieceSink> make_suffix_stage(std::string suffix, PieceSink& next);
/// Puts a space before each piece that doesn't begin with `prefix`; `cleanup` takes out those that
/// English puts before no punctuation.
std::unique_ptr<PieceSink> make_prefix_stage(std::string prefix, bool cleanup, PieceSink& next);

constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";

/// How the SentencePiece library writes the pieces of a model.
struct PieceSpelling {
  std::string unknown, unknown_text;
  /// What becomes of the spaces that a text begins with.
  enum class Leading { keep, drop_one, drop_all } leading = Leading::drop_one;
};
std::unique_ptr<PieceSink> make_sentencepiece_stage(const PieceSpelling& spelling, PieceSink& next);

}  // namespace moebius
