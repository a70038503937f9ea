// The decoder stages (decoder.h). `next` must outlive the stage.
#pragma once

#include <memory>
#include <string>

#include "text/decoder.h"
#include "text/regex.h"

namespace moebius {

/// Converts characters of the byte-level alphabet to bytes and joins all pieces.
std::unique_ptr<PieceSink> make_byte_level_stage(PieceSink& next);
/// Converts pieces such as `<0xE2>` to bytes and joins adjacent ones.
std::unique_ptr<PieceSink> make_byte_fallback_stage(PieceSink& next);
/// Joins all pieces, with `between` between them.
std::unique_ptr<PieceSink> make_fuse_stage(std::string between, PieceSink& next);
/// Replaces the matches of `pattern` within a piece by `content`.
std::unique_ptr<PieceSink> make_replace_stage(const Pattern& pattern, std::string content,
                                              PieceSink& next);
/// Removes `content` up to `start` times from the front of a piece and up to `stop` times from its
/// end.
std::unique_ptr<PieceSink> make_strip_stage(std::string content, std::size_t start,
                                            std::size_t stop, PieceSink& next);

/// Replaces `replacement` by a space, in the first piece by nothing if `drops_first`.
std::unique_ptr<PieceSink> make_metaspace_stage(std::string replacement, bool drops_first,
                                                PieceSink& next);
/// Replaces `suffix` by a space, in the last piece by nothing.
std::unique_ptr<PieceSink> make_suffix_stage(std::string suffix, PieceSink& next);
/// Puts a space before each piece that does not begin with `prefix`; `cleanup` removes spaces
/// before punctuation and English contractions.
std::unique_ptr<PieceSink> make_prefix_stage(std::string prefix, bool cleanup, PieceSink& next);

constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";

/// How the SentencePiece library writes the pieces of a model.
struct PieceSpelling {
  std::string unknown, unknown_text;
  /// Treatment of the spaces at the start of a text.
  enum class Leading { keep, drop_one, drop_all } leading = Leading::drop_one;
};
std::unique_ptr<PieceSink> make_sentencepiece_stage(const PieceSpelling& spelling, PieceSink& next);

}  // namespace moebius
