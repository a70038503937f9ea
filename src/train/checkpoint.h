// A training state on disk: RUN/checkpoint-N holds a model that can be opened as it is, and beside
// it the optimiser and where the data stood. RUN/latest names the last complete one.
#pragma once

#include <optional>

#include "model/load.h"
#include "train/adamw.h"

namespace moebius {

struct TrainState {
  std::int64_t step = 0, tokens = 0, data_position = 0;
  double seconds = 0;
};

/// Writes a model directory: configuration, weights in `dtype`, and the files that lie in `like`
/// beside them (tokenizer, generation configuration).
void write_model(const Model& model, DType dtype, const std::string& config, const fs::path& like,
                 const fs::path& directory, std::size_t max_shard_bytes);

/// Writes RUN/checkpoint-N aside, renames it, updates `latest`, removes all but the last `keep`.
void save_checkpoint(const fs::path& run, const TrainState& state, const Model& model,
                     const std::string& config, const fs::path& like, AdamW& optimizer,
                     std::int64_t keep, std::size_t max_shard_bytes);

/// Restores weights, optimiser and state from the checkpoint that RUN/latest names; nothing if
/// there is none. Throws Error naming what does not fit.
std::optional<TrainState> load_checkpoint(const fs::path& run, Model& model, AdamW& optimizer);

}  // namespace moebius
