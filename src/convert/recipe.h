// How a converted layer is made, as data: each FFN of it is a selection of the neurons of one of
// the sources, or a weighted mean of several, scaled, with noise or fresh weights where asked. The
// writer and the layer test make the same bytes from it, at any number of threads.
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

/// One of a source's matrices or vectors: a tensor of its file, or a stretch of one that holds
/// several.
struct WeightSlice {
  const TensorEntry* entry;
  std::size_t begin;  ///< elements of the tensor before it
  Shape shape;        ///< as stored
  bool transposed;    ///< stored as [in, out]

  std::size_t elements() const { return static_cast<std::size_t>(element_count(shape)); }
  bool whole() const { return elements() == static_cast<std::size_t>(entry->elements()); }
  float operator[](std::size_t i) const {
    return load_weight(entry->data, entry->dtype, begin + i);
  }
};

/// An FFN that another is made from.
struct FfnOrigin {
  std::size_t source = 0;    ///< number of the model
  std::int64_t expert = -1;  ///< of an MoE layer; -1: the dense FFN
  double weight = 1;         ///< of a mean
};

/// One expert, or the shared part. A neuron is a row of gate and up with its column of down.
struct FfnRecipe {
  std::vector<FfnOrigin> origins{{}};
  std::vector<std::int32_t> neurons;  ///< of the origin, in this order; -1 is a neuron of zeros
  std::vector<float> scale;           ///< of each neuron's column of down
  float bias_scale = 1;               ///< of down's bias
  double noise = 0;                   ///< added to matrices, times the origin's standard deviation
  double drop = 0;     ///< share of neurons drawn anew from the origin's mean and deviation
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

/// The FFN of `width` neurons at `origin` as it is.
FfnRecipe copy_of_ffn(const FfnOrigin& origin, std::int64_t width);

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

/// Whether the tensor that `recipe` makes of one of an FFN of `width` is that tensor itself.
bool is_copy(const FfnRecipe& recipe, std::string_view part, std::int64_t width);

/// Elements of what `make_ffn_tensor` makes.
std::size_t ffn_tensor_elements(const FfnRecipe& recipe, std::string_view part,
                                const WeightSlice& origin);

/// Elements of the tensor that `recipe` makes of `origins`, which hold `part` of its origins
/// ("gate.weight", "up.bias", ...), in the order of their files and in `dtype`.
std::vector<std::byte> make_ffn_tensor(const FfnRecipe& recipe, std::string_view part,
                                       const std::vector<WeightSlice>& origins, DType dtype,
                                       std::uint64_t seed, int threads);

}  // namespace moebius
