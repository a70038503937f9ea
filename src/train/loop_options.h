// What every kind of training shares: the run directory, steps, checkpoints, what trains and how.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/files.h"
#include "config/options.h"
#include "train/adamw_options.h"
#include "train/schedule.h"

namespace moebius {

/// How training computes and what it keeps in memory.
enum class Precision {
  f32,    ///< everything in f32
  mixed,  ///< computes with a copy in bf16; master weights and optimiser state in f32
  bf16    ///< everything in bf16: small updates are lost to rounding
};
constexpr auto names_of(Precision) {
  return std::array{"f32", "mixed", "bf16"};
}

struct LoopOptions {
  fs::path out;
  bool resume = false;
  std::int64_t steps = 0;
  std::int64_t accumulate = 1;  ///< micro-batches per step
  std::int64_t save_every = 0;  ///< steps; 0: at the end alone
  std::int64_t log_every = 10;  ///< steps between tables of layers and expert distances
  std::int64_t keep = 2;        ///< checkpoints that stay on disk
  std::string train = "all";
  std::vector<std::string> groups;  ///< as `ParameterGroup::parse` reads them
  Precision precision = Precision::f32;
  double clip = 1.0;  ///< largest norm of all gradients, 0 for none
  std::string max_shard_size = "5GB";
  std::string expert_layout;  ///< fused or separate; empty: the family's usual one
  Schedule schedule;
  AdamWOptions adamw;
  std::string config_echo;  ///< for RUN/config.yaml: every option of the command

  void declare(OptionSet& options);
};

}  // namespace moebius
