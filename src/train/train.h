// Training a language model: what the command line and a server call.
#pragma once

#include "base/context.h"
#include "train/train_options.h"

namespace moebius {

struct TrainReport {
  std::int64_t steps = 0, tokens = 0;
  double first_loss = 0, last_loss = 0;  ///< means of the first and last tenth of this go's steps
  double seconds = 0, tokens_per_s = 0;
  fs::path model;  ///< RUN/model
};

TrainReport train(const TrainOptions& options, const Context& ctx);

}  // namespace moebius
