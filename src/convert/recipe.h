// How a converted layer is made, as data: each FFN of it is a selection of the dense FFN's neurons,
// scaled, with noise or fresh weights where asked. The writer and the layer test make the same
// bytes from it, at any number of threads.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "checkpoint/index.h"
#include "config/model_spec.h"

namespace moebius {

/// One expert, or the shared part. A neuron is a row of gate and up with its column of down.
struct FfnRecipe {
  std::vector<std::int32_t> neurons;  ///< of the dense FFN, in this order; -1 is a neuron of zeros
  std::vector<float> scale;           ///< of each neuron's column of down
  float bias_scale = 1;               ///< of down's bias
  double noise = 0;    ///< added to matrices, times the dense matrix's standard deviation
  double drop = 0;     ///< share of neurons drawn anew from the dense matrix's mean and deviation
  std::string stream;  ///< names the random numbers
};

/// One layer.
struct LayerRecipe {
  MoeSpec moe;
  std::map<std::string, std::vector<float>> router;  ///< "weight" [E, D], ...; absent: zeros
  std::vector<FfnRecipe> experts;
  std::optional<FfnRecipe> shared;
};
using Recipes = std::map<std::int64_t, LayerRecipe>;  ///< by layer

/// `count` weights in `dtype`; `value(i)` is the i-th. Up to `threads` threads ask for them.
template <class Value>
std::vector<std::byte> store_weights(std::size_t count, DType dtype, int threads,
                                     const Value& value) {
  std::vector<std::byte> bytes(count * size_of(dtype));
  parallel_for(count, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) store_weight(bytes.data(), dtype, i, value(i));
  });
  return bytes;
}

/// Whether the tensor that `recipe` makes of one of a dense FFN of `width` is that tensor itself.
bool is_copy(const FfnRecipe& recipe, std::string_view part, std::int64_t width);

/// Elements of what `make_ffn_tensor` makes.
std::size_t ffn_tensor_elements(const FfnRecipe& recipe, std::string_view part,
                                const BoundTensor& dense);

/// Elements of the tensor that `recipe` makes of `dense`, which holds `part` of the dense FFN
/// ("gate.weight", "up.bias", ...), in the order of its file and in `dtype`.
std::vector<std::byte> make_ffn_tensor(const FfnRecipe& recipe, std::string_view part,
                                       const BoundTensor& dense, DType dtype, std::uint64_t seed,
                                       int threads);

}  // namespace moebius
