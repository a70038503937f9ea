#include "convert/recipe.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "convert/statistics.h"

namespace moebius {
namespace {

bool is_down(std::string_view part) {
  return part.starts_with("down.");
}

/// Which positions are drawn anew: the same ones in gate, up and down.
std::vector<bool> dropped_positions(const FfnRecipe& recipe, std::uint64_t seed) {
  const std::size_t count = recipe.neurons.size();
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  Random random(seed, stream_of("drop " + recipe.stream));
  std::vector<bool> dropped(count, false);
  const auto wanted = static_cast<std::size_t>(recipe.drop * static_cast<double>(count) + 0.5);
  for (std::size_t i = 0; i < wanted; ++i) {
    std::swap(order[i], order[i + random.next_below(count - i)]);
    dropped[order[i]] = recipe.neurons[order[i]] >= 0;
  }
  return dropped;
}

/// Makes a tensor element by element; (p, q) is the p-th neuron and the q-th of the other
/// dimension, which a bias lacks.
class Maker {
 public:
  Maker(const FfnRecipe& recipe, std::string_view part, const BoundTensor& dense,
        std::uint64_t seed, int threads)
      : recipe_(recipe),
        entry_(*dense.found),
        down_(is_down(part)),
        matrix_(entry_.shape.size() == 2),
        neurons_first_(!matrix_ || down_ == dense.wanted.transposed),
        fresh_(seed, stream_of(fmt::format("fresh {} {}", entry_.name, recipe.stream))),
        noise_(seed, stream_of(fmt::format("{} {}", entry_.name, recipe.stream))) {
    if (!matrix_) return;
    if (recipe.noise > 0 || recipe.drop > 0) statistics_ = statistics_of(entry_, threads);
    if (recipe.drop > 0) dropped_ = dropped_positions(recipe, seed);
  }

  float element(std::size_t i) const {
    const std::size_t p = neurons_first_ ? i / other() : i % recipe_.neurons.size();
    const std::size_t q = neurons_first_ ? i % other() : i / recipe_.neurons.size();
    const std::int32_t neuron = recipe_.neurons[p];
    if (neuron < 0) return 0;
    const auto n = static_cast<std::size_t>(neuron);
    const auto dense_neurons = static_cast<std::size_t>(entry_.shape[neurons_first_ ? 0 : 1]);
    const std::size_t at = neurons_first_ ? n * other() + q : q * dense_neurons + n;
    double value = load_weight(entry_.data, entry_.dtype, at);
    if (!dropped_.empty() && dropped_[p]) {
      value = statistics_.mean + statistics_.deviation * fresh_.normal(i);
    } else if (matrix_ && recipe_.noise > 0) {
      value += recipe_.noise * statistics_.deviation * noise_.normal(i);
    }
    return static_cast<float>(down_ ? value * recipe_.scale[p] : value);
  }

 private:
  std::size_t other() const {
    return matrix_ ? static_cast<std::size_t>(entry_.shape[neurons_first_ ? 1 : 0]) : 1;
  }

  const FfnRecipe& recipe_;
  const TensorEntry& entry_;
  bool down_, matrix_, neurons_first_;
  Random fresh_, noise_;
  Statistics statistics_;
  std::vector<bool> dropped_;
};

}  // namespace

bool is_copy(const FfnRecipe& recipe, std::string_view part, std::int64_t width) {
  if (part == "down.bias") return recipe.bias_scale == 1;
  if (static_cast<std::int64_t>(recipe.neurons.size()) != width) return false;
  const bool matrix = part.ends_with(".weight");
  if (matrix && (recipe.noise > 0 || recipe.drop > 0)) return false;
  for (std::size_t p = 0; p < recipe.neurons.size(); ++p) {
    if (recipe.neurons[p] != static_cast<std::int32_t>(p)) return false;
    if (is_down(part) && recipe.scale[p] != 1) return false;
  }
  return true;
}

std::size_t ffn_tensor_elements(const FfnRecipe& recipe, std::string_view part,
                                const BoundTensor& dense) {
  const auto elements = static_cast<std::size_t>(dense.found->elements());
  if (part == "down.bias") return elements;
  const auto neurons = static_cast<std::size_t>(
      dense.found->shape[is_down(part) != dense.wanted.transposed ? 1 : 0]);
  const bool matrix = dense.found->shape.size() == 2;
  return recipe.neurons.size() * (matrix ? elements / neurons : 1);
}

std::vector<std::byte> make_ffn_tensor(const FfnRecipe& recipe, std::string_view part,
                                       const BoundTensor& dense, DType dtype, std::uint64_t seed,
                                       int threads) {
  if (part == "down.bias") {
    const TensorEntry& entry = *dense.found;
    const auto count = static_cast<std::size_t>(entry.elements());
    return store_weights(count, dtype, threads, [&](std::size_t i) {
      return recipe.bias_scale * load_weight(entry.data, entry.dtype, i);
    });
  }
  const Maker maker(recipe, part, dense, seed, threads);
  return store_weights(ffn_tensor_elements(recipe, part, dense), dtype, threads,
                       [&](std::size_t i) { return maker.element(i); });
}

}  // namespace moebius
