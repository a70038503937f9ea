// What trains: parameters, chosen by name, in groups that may have a learning rate and a weight
// decay of their own.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "model/graph.h"

namespace moebius {

/// A weight that trains. `name` is its slot. Where the model computes with a copy in bf16, `master`
/// is what that is a copy of, in f32.
struct Parameter {
  std::string name;
  at::Tensor value;
  bool decays = true;  ///< matrices and embeddings; not norms and biases
  at::Tensor master = {};
  double lr_factor = 1.0;            ///< on the learning rate of the step
  std::optional<double> decay = {};  ///< weight decay instead of the optimiser's
};

/// Parameters whose names match `pattern` ('*' matches anything) and what is different for them.
struct ParameterGroup {
  std::string pattern;
  double lr_factor = 1.0;
  std::optional<double> decay;

  /// From "PATTERN: lr=0.1 decay=0", in which either part may be missing. Throws UsageError.
  static ParameterGroup parse(const std::string& text);
};

/// Whether a slot is a weight of a router.
bool is_router(const std::string& slot);

/// The weights that `--train` chooses: all, router, experts, or a pattern in which '*' matches
/// anything; they and no others require gradients afterwards. Throws Error if nothing matches.
std::vector<Parameter> select_parameters(Weights& weights, const std::string& train);

/// Applies groups in order; of several that match a parameter the last one counts. Throws Error if
/// one matches none.
void apply_groups(const std::vector<ParameterGroup>& groups, std::vector<Parameter>& parameters);

/// Both: `train` and `groups` as the options give them.
std::vector<Parameter> trained_parameters(Weights& weights, const std::string& train,
                                          const std::vector<std::string>& groups);

}  // namespace moebius
