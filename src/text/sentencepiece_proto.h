// The fields of a SentencePiece model file that the library does not give out. The file is a
// Protocol Buffers message of the type ModelProto.
#pragma once

#include <string_view>
#include <vector>

namespace moebius {

/// Types of pieces, with the numbers of ModelProto.SentencePiece.Type.
enum class PieceType {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

/// The type of each piece, by id. `model` must be a file that the library has loaded; of bytes that
/// are no message the result is a part of the types.
std::vector<PieceType> piece_types(std::string_view model);

/// Whether the library puts a space before a text: NormalizerSpec.add_dummy_prefix.
bool adds_dummy_prefix(std::string_view model);

/// Fields of ModelProto that, appended to a model file, replace its own: the library then neither
/// puts a space before a text nor drops spaces.
inline constexpr std::string_view kKeepSpaces("\x1A\x04\x18\x00\x20\x00", 6);

}  // namespace moebius
