#pragma once

#include <string>
#include <vector>

#include "moe/training/balance_form.h"
#include "train/loop_options.h"

namespace moebius {

struct TrainOptions {
  fs::path init, model_config, tokenizer;
  std::vector<std::string> data;
  std::string key = "text";
  double epochs = 0;
  std::int64_t batch = 8, sequence = 0;
  bool shuffle = true;
  double balance = -1;  ///< coefficient; negative: as the configuration says
  BalanceForm balance_form = BalanceForm::layer;
  LoopOptions loop;
  bool overwrite = false;  ///< taken from the common options

  void declare(OptionSet& options);
  /// Throws UsageError naming the first value that is out of range.
  void check() const;
};

}  // namespace moebius
