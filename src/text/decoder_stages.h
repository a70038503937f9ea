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

}  // namespace moebius
