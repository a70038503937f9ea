// llama.cpp's names of architectures, hyperparameters and tensors: from a ModelSpec, and back to an
// equivalent config.json.
#pragma once

#include "base/json.h"
#include "checkpoint/gguf.h"
#include "config/families.h"

namespace moebius {

/// Throws Error naming the property of the model that GGUF, or llama.cpp, cannot represent.
void check_gguf_can_represent(const ModelSpec& spec, const std::string& where);

/// The hyperparameters as metadata, with `general.architecture`.
GgufMetadata gguf_hyperparameters(const ModelSpec& spec);

/// The config.json of the model in a file of which `bytes` is all. Throws Error for an
/// architecture that is not known and for values that no family of moebius has.
Json config_of_gguf(const GgufHeader& header, std::span<const std::byte> bytes);

/// Name of the tensor that holds a slot: "layers.3.attn.q.weight" -> "blk.3.attn_q.weight".
std::string gguf_name(std::string_view slot);
/// The tensor that holds factors of the rotary frequencies, for all layers.
inline constexpr std::string_view gguf_rope_factors = "rope_freqs.weight";
/// What every frequency of a rotation by pairs is divided by in `rope.scaling` llama3: [head_dim /
/// 2].
std::vector<float> llama3_factors(const RopeSpec& rope, std::int64_t head_dim);

/// Whether the head is stored even where it is tied to the embedding.
bool gguf_needs_head(const ModelSpec& spec);
/// Whether the rows of this slot are interleaved, as llama.cpp rotates them: in every head, row j
/// of the first half is followed by row j of the second half.
bool gguf_interleaves(const ModelSpec& spec, std::string_view slot);
/// The row of a checkpoint's tensor that is row `row` of the interleaved one.
std::int64_t interleaved_row(std::int64_t row, std::int64_t head_dim);

}  // namespace moebius
