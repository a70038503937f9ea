// The story of moebius in a few minutes: data, a dense model, its conversion, both trained on for
// the same tokens, one table. Every figure is measured in the run.
#pragma once

#include <functional>
#include <string>

#include "base/context.h"
#include "config/options.h"

namespace moebius {

struct DemoOptions {
  fs::path model;  ///< a checkpoint to start from; empty: train a small one
  fs::path out = "runs/demo";
  double minutes = 5;           ///< what training and measuring of a given checkpoint may take
  std::int64_t samples = 1000;  ///< a domain
  std::int64_t dense_steps = 500, steps = 200;
  std::int64_t experts = 8, top_k = 2, every = 2;
  bool overwrite = false;   ///< taken from the common options
  std::string config_echo;  ///< for OUT/config.yaml

  void declare(OptionSet& options);
};

/// Runs the story; `tell` gets its lines as they come true. OUT/demo.json holds the table's
/// figures.
void run_demo(const DemoOptions& options, const Context& ctx,
              const std::function<void(std::string_view)>& tell);

}  // namespace moebius
