// What llama.cpp calls the parts of a model: architectures, hyperparameters and tensors, from a
// ModelSpec and back to the config.json that says the same.
#pragma once

#include "base/json.h"
#include "checkpoint/gguf.h"
#include "config/families.h"

namespace moebius {

/// Throws Error naming what of the model GGUF, or llama.cpp that reads it, has no word for.
void check_gguf_can_say(const ModelSpec& spec, const std::string& where);

/// The hyperparameters as keys of metadata, `general.architecture` among them.
GgufMetadata gguf_hyperparameters(const ModelSpec& spec);

/// The config.json of the model in a file; `bytes` are the whole of it. Throws Error for an
/// architecture that is not known and for values that no family of moebius has.
Json config_of_gguf(const GgufHeader& header, std::span<const std::byte> bytes);

/// Name of the tensor that holds a slot: "layers.3.attn.q.weight" -> "blk.3.attn_q.weight".
std::string gguf_name(std::string_view slot);
/// The tensor that holds factors of the rotary frequencies, for all layers.
inline constexpr std::string_view gguf_rope_factors = "rope_freqs.weight";
/// What every frequency of a rotation by pairs is divided by in `rope.scaling` llama3: [head_dim /
/// 2].
std::vector<float> llama3_factors(const RopeSpec& rope, std::int64_t head_dim);

/// Whether the head is stored even where it is the embedding.
bool gguf_needs_head(const ModelSpec& spec);
/// Whether the rows of this slot lie as llama.cpp rotates them: in every head, row j of the first
/// half is followed by row j of the second.
bool gguf_interleaves(const ModelSpec& spec, std::string_view slot);
/// The row of a checkpoint that stands as row `row` of an interleaved tensor.
std::int64_t interleaved_row(std::int64_t row, std::int64_t head_dim);

}  // namespace moebius
