// Tokens of several sequences in one batch, without padding: the form in which every kind of
// training hands text to a model, from the data reader down to the attention kernels. Packing,
// answer masks, preference pairs and rollouts differ in what they put into it.
// Legend: N tokens of the batch, S sequences.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace moebius {

struct TokenBatch {
  std::vector<std::int32_t> ids_N;        ///< input tokens, one sequence after the other
  std::vector<std::int32_t> positions_N;  ///< position of each token in its sequence, from 0
  /// [S + 1]: sequence s is rows [starts[s], starts[s + 1]); no sequence is empty.
  std::vector<std::int64_t> sequence_starts{0};
  std::vector<std::int32_t> targets_N;  ///< the token to predict; any id where the weight is 0
  std::vector<float> weights_N;         ///< of each target in the loss, not negative

  std::int64_t tokens() const { return static_cast<std::int64_t>(ids_N.size()); }
  std::int64_t sequences() const { return static_cast<std::int64_t>(sequence_starts.size()) - 1; }
  std::int64_t longest_sequence() const;
  /// Sum of the weights, in f64.
  double total_weight() const;

  /// Appends a sequence of n tokens with n targets and n weights. Throws Error on no tokens,
  /// unequal lengths, or a weight that is negative or not finite.
  void add(std::span<const std::int32_t> ids, std::span<const std::int32_t> targets,
           std::span<const float> weights);
  /// Appends a sequence whose tokens predict the ones after them: n + 1 ids become n inputs and n
  /// targets. `weights` [n] are those of the targets; empty: 1 each.
  void add_next_token(std::span<const std::int32_t> ids, std::span<const float> weights = {});
};

}  // namespace moebius
