// Training: what the command line and a server call.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "config/options.h"

namespace moebius {

/// Optimiser and schedule: AdamW (Loshchilov and Hutter, 2019), linear warm-up, then a cosine.
struct OptimizerOptions {
  double lr = 3e-4, min_lr_ratio = 0.1;
  std::int64_t warmup = 0;     ///< steps
  double weight_decay = 0.01;  ///< of matrices and embeddings; not of norms and biases
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double clip = 1.0;  ///< largest norm of all gradients, 0 for none

  void declare(OptionSet& options);
  /// Learning rate of step `step`, counted from 0, of `steps`.
  double lr_at(std::int64_t step, std::int64_t steps) const;
};

/// What any kind of training shares.
struct LoopOptions {
  fs::path out;
  bool resume = false;
  std::int64_t steps = 0;
  std::int64_t accumulate = 1;  ///< batches of a step
  std::int64_t save_every = 0;  ///< steps; 0: at the end alone
  std::int64_t keep = 2;        ///< checkpoints that stay on disk
  std::string train = "all";
  std::string precision = "f32";  ///< "mixed": bf16 with masters and means in f32; "bf16": all
  std::string max_shard_size = "5GB";
  OptimizerOptions optimizer;

  void declare(OptionSet& options);
};

struct TrainOptions {
  fs::path init, model_config, tokenizer;
  std::vector<std::string> data;
  std::string key = "text";
  double epochs = 0;
  std::int64_t batch = 8, sequence = 0;
  bool shuffle = true;
  double balance = -1;  ///< coefficient; negative: as the configuration says
  std::string balance_form = "layer";
  LoopOptions loop;
  bool overwrite = false;   ///< taken from the common options
  std::string config_echo;  ///< for RUN/config.yaml

  void declare(OptionSet& options);
};

struct TrainReport {
  std::int64_t steps = 0, tokens = 0;
  double first_loss = 0, last_loss = 0;  ///< means of the first and last tenth of this go's steps
  double seconds = 0, tokens_per_s = 0;
  fs::path model;  ///< RUN/model
};

TrainReport train(const TrainOptions& options, const Context& ctx);

}  // namespace moebius
