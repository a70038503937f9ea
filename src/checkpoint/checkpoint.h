// A model directory opened for its weights, with configuration and tensors brought to agree.
#pragma once

#include <vector>

#include "base/context.h"
#include "checkpoint/index.h"

namespace moebius {

/// A model: what it is, its mapped tensors, and which of them each weight is.
struct Checkpoint {
  fs::path directory;
  ModelSpec spec;
  CheckpointIndex index;
  std::vector<BoundTensor> bound;  ///< refers to `index`
};

/// Opens DIRECTORY. Where two files state one fact differently, the one that transformers follows
/// wins and `log` gets a warning:
/// - `tie_word_embeddings` true beside a stored head that differs from the embedding: not tied;
/// - a tied model that stores the head alone: the embedding is the head;
/// - `quantization_config` and the like beside plain weights: ignored;
/// - no `dtype` in config.json: that of the first tensor;
/// - EOS ids of config.json that generation_config.json lacks: its own, or none, end generation.
/// Experts that are stored transposed, [E, D, 2F] and [E, F, D], are copied into the usual order.
/// Throws Error for weights that are quantised, naming how, and as `bind_checkpoint` does.
Checkpoint open_checkpoint(const fs::path& directory, const Log& log);

/// Whether DIRECTORY holds weights, in any format that CheckpointIndex reads.
bool has_weights(const fs::path& directory);

/// config.json of a model that is written from one with the configuration `config`: without the
/// keys that describe how the source stores its weights, `tie_word_embeddings` as `spec` has it.
Json carried_config(Json config, const ModelSpec& spec);
/// The same as text: `text` itself where nothing changes. `where` names it in errors.
std::string carried_config(const std::string& text, const std::string& where,
                           const ModelSpec& spec);

}  // namespace moebius
