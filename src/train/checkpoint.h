// A training state on disk: RUN/checkpoint-N holds a model that can be opened as it is, and beside
// it the state of the optimiser and of the objective. RUN/latest names the last complete one.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "model/load.h"
#include "train/optimizer.h"

namespace moebius {

struct TrainState {
  std::int64_t step = 0, tokens = 0;
  double seconds = 0;
  Json objective = Json::object();  ///< as `Objective::state` gives it
};

/// What a saved model takes over from where training started.
struct Origin {
  std::string config;   ///< text of config.json
  fs::path tokenizer;   ///< folder with the tokenizer's files
  fs::path generation;  ///< folder that may hold generation_config.json; empty: none
};

/// Writes a model directory: configuration, weights in `dtype`, tokenizer, generation
/// configuration, and for an overlay its modelling code.
void write_model(const Model& model, DType dtype, const Origin& origin, const fs::path& directory,
                 std::size_t max_shard_bytes);

/// Writes RUN/checkpoint-N aside, renames it, updates `latest`, removes all but the last `keep`.
void save_checkpoint(const fs::path& run, const TrainState& state, const Model& model,
                     const Origin& origin, Optimizer& optimizer, std::int64_t keep,
                     std::size_t max_shard_bytes);

/// Restores weights, optimiser and state from the checkpoint that RUN/latest names; nothing if
/// there is none. Throws Error naming what does not fit.
std::optional<TrainState> load_checkpoint(const fs::path& run, Model& model, Optimizer& optimizer);

}  // namespace moebius
