// The recipe of a converted layer: each of its FFNs is a selection of the neurons of one of the
// sources, or a weighted mean of several, scaled, with noise or newly initialised weights. Writer
// and layer test compute the same bytes from it, at any number of threads.
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

/// A matrix or vector of a source: a tensor of its file, or a contiguous part of one.
struct WeightSlice {
  const TensorEntry* entry;
  std::size_t begin;  ///< index of its first element in the tensor
  Shape shape;        ///< as stored
  bool transposed;    ///< stored as [in, out]

  std::size_t elements() const { return static_cast<std::size_t>(element_count(shape)); }
  bool whole() const { return elements() == static_cast<std::size_t>(entry->elements()); }
  float operator[](std::size_t i) const {
    return load_weight(entry->data, entry->dtype, begin + i);
  }
};

/// An FFN that a recipe reads.
struct FfnOrigin {
  std::size_t source = 0;    ///< number of the model
  std::int64_t expert = -1;  ///< of an MoE layer; -1: the dense FFN
  double weight = 1;         ///< of a mean
};

/// An expert or the shared expert. A neuron is a row of gate and up and a column of down.
struct FfnRecipe {
  std::vector<FfnOrigin> origins{{}};
  std::vector<std::int32_t> neurons;  ///< of the origin, in this order; -1 is a neuron of zeros
  std::vector<float> scale;           ///< of each neuron's column of down
  float bias_scale = 1;               ///< of down's bias
  double noise = 0;                   ///< added to matrices, times the origin's standard deviation
  double drop = 0;     ///< share of neurons initialised again with the origin's mean and deviation
  std::string stream;  ///< name of the random numbers
};

/// One layer.
struct LayerRecipe {
  MoeSpec moe;
  std::map<std::string, std::vector<float>> router;  ///< "weight" [E, D], ...; absent: zeros
  std::vector<FfnRecipe> experts;
  std::optional<FfnRecipe> shared;
};
using Recipes = std::map<std::int64_t, LayerRecipe>;  ///< by layer

/// An unchanged copy of the FFN of `width` neurons at `origin`.
FfnRecipe copy_of_ffn(const FfnOrigin& origin, std::int64_t width);

/// Bytes of `count` weights in `dtype`; `value(i)` is the i-th. Called by up to `threads` threads.
template <class Value>
std::vector<std::byte> store_weights(std::size_t count, DType dtype, int threads,
                                     const Value& value) {
  std::vector<std::byte> bytes(count * size_of(dtype));
  parallel_for(count, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) store_weight(bytes.data(), dtype, i, value(i));
  });
  return bytes;
}

/// Whether `recipe` leaves the tensor `part` of an FFN of `width` unchanged.
bool is_copy(const FfnRecipe& recipe, std::string_view part, std::int64_t width);

/// The number of elements that `make_ffn_tensor` returns.
std::size_t ffn_tensor_elements(const FfnRecipe& recipe, std::string_view part,
                                const WeightSlice& origin);

/// Bytes of the tensor `part` ("gate.weight", "up.bias", ...) that `recipe` computes from
/// `origins`, the same part of each of its origins, in the memory layout of their files and in
/// `dtype`.
std::vector<std::byte> make_ffn_tensor(const FfnRecipe& recipe, std::string_view part,
                                       const std::vector<WeightSlice>& origins, DType dtype,
                                       std::uint64_t seed, int threads);

}  // namespace moebius
