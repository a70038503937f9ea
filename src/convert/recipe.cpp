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

/// The positions that are initialised again: the same in gate, up and down.
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

double mean_at(const FfnRecipe& recipe, const std::vector<WeightSlice>& origins, std::size_t i) {
  double mean = recipe.origins[0].weight * origins[0][i];
  for (std::size_t o = 1; o < origins.size(); ++o) mean += recipe.origins[o].weight * origins[o][i];
  return mean;
}

/// Computes a tensor element by element; (p, q) is neuron p and index q of the other dimension,
/// which a bias lacks.
class Maker {
 public:
  Maker(const FfnRecipe& recipe, std::string_view part, const std::vector<WeightSlice>& origins,
        std::uint64_t seed, int threads)
      : recipe_(recipe),
        origins_(origins),
        shape_(origins[0].shape),
        down_(is_down(part)),
        matrix_(shape_.size() == 2),
        neurons_first_(!matrix_ || down_ == origins[0].transposed),
        fresh_(seed, stream_of(fmt::format("fresh {} {}", name(), recipe.stream))),
        noise_(seed, stream_of(fmt::format("{} {}", name(), recipe.stream))) {
    if (!matrix_) return;
    if (recipe.noise > 0 || recipe.drop > 0) statistics_ = statistics_of(origins[0], threads);
    if (recipe.drop > 0) dropped_ = dropped_positions(recipe, seed);
  }

  float element(std::size_t i) const {
    const std::size_t p = neurons_first_ ? i / other() : i % recipe_.neurons.size();
    const std::size_t q = neurons_first_ ? i % other() : i / recipe_.neurons.size();
    const std::int32_t neuron = recipe_.neurons[p];
    if (neuron < 0) return 0;
    const auto n = static_cast<std::size_t>(neuron);
    const auto neurons = static_cast<std::size_t>(shape_[neurons_first_ ? 0 : 1]);
    const std::size_t at = neurons_first_ ? n * other() + q : q * neurons + n;
    double value = mean_at(recipe_, origins_, at);
    if (!dropped_.empty() && dropped_[p]) {
      value = statistics_.mean + statistics_.deviation * fresh_.normal(i);
    } else if (matrix_ && recipe_.noise > 0) {
      value += recipe_.noise * statistics_.deviation * noise_.normal(i);
    }
    return static_cast<float>(down_ ? value * recipe_.scale[p] : value);
  }

 private:
  std::size_t other() const {
    return matrix_ ? static_cast<std::size_t>(shape_[neurons_first_ ? 1 : 0]) : 1;
  }
  const std::string& name() const { return origins_[0].entry->name; }

  const FfnRecipe& recipe_;
  const std::vector<WeightSlice>& origins_;
  const Shape& shape_;
  bool down_, matrix_, neurons_first_;
  Random fresh_, noise_;
  Statistics statistics_;
  std::vector<bool> dropped_;
};

}  // namespace

FfnRecipe copy_of_ffn(const FfnOrigin& origin, std::int64_t width) {
  FfnRecipe ffn;
  ffn.origins = {origin};
  ffn.neurons.resize(static_cast<std::size_t>(width));
  std::iota(ffn.neurons.begin(), ffn.neurons.end(), 0);
  ffn.scale.assign(static_cast<std::size_t>(width), 1.0F);
  return ffn;
}

bool is_copy(const FfnRecipe& recipe, std::string_view part, std::int64_t width) {
  if (recipe.origins.size() > 1) return false;
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
                                const WeightSlice& origin) {
  if (part == "down.bias") return origin.elements();
  const auto neurons =
      static_cast<std::size_t>(origin.shape[is_down(part) != origin.transposed ? 1 : 0]);
  const bool matrix = origin.shape.size() == 2;
  return recipe.neurons.size() * (matrix ? origin.elements() / neurons : 1);
}

std::vector<std::byte> make_ffn_tensor(const FfnRecipe& recipe, std::string_view part,
                                       const std::vector<WeightSlice>& origins, DType dtype,
                                       std::uint64_t seed, int threads) {
  if (part == "down.bias") {
    return store_weights(origins[0].elements(), dtype, threads, [&](std::size_t i) {
      return static_cast<float>(recipe.bias_scale * mean_at(recipe, origins, i));
    });
  }
  const Maker maker(recipe, part, origins, seed, threads);
  return store_weights(ffn_tensor_elements(recipe, part, origins[0]), dtype, threads,
                       [&](std::size_t i) { return maker.element(i); });
}

}  // namespace moebius
