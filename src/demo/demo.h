// `moebius demo`: synthesises data, trains a dense model, converts it, trains both on the same
// tokens, and compares them in one table. Every figure is measured in the run.
#pragma once

#include <functional>
#include <string>

#include "base/context.h"
#include "config/options.h"

namespace moebius {

struct DemoOptions {
  fs::path model;  ///< a checkpoint to start from; empty: train a small one
  fs::path out = "runs/demo";
  double minutes = 5;           ///< limit for training and measuring a given checkpoint
  std::int64_t samples = 1000;  ///< per domain
  std::int64_t dense_steps = 500, steps = 200;
  std::int64_t experts = 8, top_k = 2, every = 2;
  bool overwrite = false;   ///< taken from the common options
  std::string config_echo;  ///< for OUT/config.yaml

  void declare(OptionSet& options);
};

/// Runs all steps; `print` receives a line when its step is done. OUT/demo.json holds the figures
/// of the table.
void run_demo(const DemoOptions& options, const Context& ctx,
              const std::function<void(std::string_view)>& print);

}  // namespace moebius
