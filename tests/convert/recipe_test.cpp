#include "convert/recipe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/random.h"

namespace moebius {
namespace {

constexpr std::int64_t width = 700, d = 300;

/// A stored matrix of a dense FFN whose element [neuron][other] is random.
struct Stored {
  std::vector<std::byte> bytes;
  TensorEntry entry;
  WeightSlice slice{};
  bool neurons_first;

  Stored(std::string_view part, bool transposed, DType dtype = DType::f32)
      : bytes(width * d * size_of(dtype)), neurons_first((part == "down.weight") == transposed) {
    entry.name = part;
    entry.dtype = dtype;
    entry.shape = neurons_first ? Shape{width, d} : Shape{d, width};
    entry.data = bytes.data();
    entry.bytes = bytes.size();
    slice = {&entry, 0, entry.shape, transposed};
    for (std::size_t i = 0; i < width * d; ++i) {
      store_weight(bytes.data(), dtype, i, static_cast<float>(0.2 + Random(1, 1).normal(i)));
    }
  }
  float at(std::int64_t neuron, std::int64_t other) const {
    const std::int64_t i = neurons_first ? neuron * d + other : other * width + neuron;
    return load_weight(bytes.data(), entry.dtype, static_cast<std::size_t>(i));
  }
};

FfnRecipe whole() {
  FfnRecipe recipe;
  recipe.neurons.resize(width);
  std::iota(recipe.neurons.begin(), recipe.neurons.end(), 0);
  recipe.scale.assign(width, 1.0F);
  recipe.stream = "expert 0";
  return recipe;
}

TEST(IsCopy, OnlyWhatChangesNothing) {
  for (const char* part : {"gate.weight", "up.weight", "down.weight", "up.bias", "down.bias"}) {
    EXPECT_TRUE(is_copy(whole(), part, width));
  }
  FfnRecipe scaled = whole();
  scaled.scale[5] = 2;
  EXPECT_TRUE(is_copy(scaled, "up.weight", width));
  EXPECT_FALSE(is_copy(scaled, "down.weight", width));
  FfnRecipe shorter = whole();
  shorter.neurons.pop_back();
  EXPECT_FALSE(is_copy(shorter, "up.bias", width));
  EXPECT_TRUE(is_copy(shorter, "down.bias", width));
  FfnRecipe noisy = whole();
  noisy.noise = 0.1;
  EXPECT_FALSE(is_copy(noisy, "gate.weight", width));
  EXPECT_TRUE(is_copy(noisy, "gate.bias", width));
  FfnRecipe swapped = whole();
  std::swap(swapped.neurons[0], swapped.neurons[1]);
  EXPECT_FALSE(is_copy(swapped, "gate.weight", width));
}

TEST(MakeFfnTensor, TakesNeuronsInOrderAndScalesDownAlone) {
  FfnRecipe recipe;
  recipe.neurons = {699, -1, 0, 17, 17};
  recipe.scale = {1, 1, 3, 0.5F, 0.25F};
  for (const char* part : {"gate.weight", "up.weight", "down.weight"}) {
    for (const bool transposed : {false, true}) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        const Stored dense(part, transposed, dtype);
        ASSERT_EQ(ffn_tensor_elements(recipe, part, dense.slice), 5u * d);
        const auto made = make_ffn_tensor(recipe, part, {dense.slice}, DType::f32, 1, 2);
        for (std::int64_t p = 0; p < 5; ++p) {
          for (std::int64_t q = 0; q < d; ++q) {
            const std::int64_t i = dense.neurons_first ? p * d + q : q * 5 + p;
            const auto n = recipe.neurons[static_cast<std::size_t>(p)];
            const float scale = std::string_view(part) == "down.weight"
                                    ? recipe.scale[static_cast<std::size_t>(p)]
                                    : 1.0F;
            ASSERT_EQ(load_weight(made.data(), DType::f32, static_cast<std::size_t>(i)),
                      n < 0 ? 0.0F : scale * dense.at(n, q));
          }
        }
      }
    }
  }
}

TEST(MakeFfnTensor, NoiseHasTheDeviationAskedForAndIsItsOwnByExpertAndSeed) {
  const Stored dense("up.weight", false);
  FfnRecipe recipe = whole();
  recipe.noise = 0.1;
  const auto make = [&](std::uint64_t seed, int threads) {
    return make_ffn_tensor(recipe, "up.weight", {dense.slice}, DType::f32, seed, threads);
  };
  const auto one = make(1, 1);
  for (const int threads : {2, 3, 7}) EXPECT_EQ(make(1, threads), one);
  EXPECT_NE(make(2, 1), one);
  recipe.stream = "expert 1";
  EXPECT_NE(make(1, 1), one);
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < width * d; ++i) {
    const double change =
        load_weight(one.data(), DType::f32, i) - load_weight(dense.bytes.data(), DType::f32, i);
    sum += change;
    squares += change * change;
  }
  EXPECT_NEAR(sum / (width * d), 0.0, 1e-3);
  EXPECT_NEAR(std::sqrt(squares / (width * d)), 0.1, 1e-3);
}

TEST(MakeFfnTensor, DropDrawsTheSameNeuronsAnewInEveryMatrix) {
  FfnRecipe recipe = whole();
  recipe.drop = 0.3;
  recipe.neurons[3] = -1;
  std::vector<std::vector<bool>> changed;
  for (const char* part : {"gate.weight", "down.weight"}) {
    const Stored dense(part, false);
    const auto made = make_ffn_tensor(recipe, part, {dense.slice}, DType::f32, 5, 2);
    std::vector<bool>& neurons = changed.emplace_back();
    double sum = 0, squares = 0, count = 0;
    for (std::int64_t n = 0; n < width; ++n) {
      const auto at = [&](std::int64_t q) {
        const std::int64_t i = dense.neurons_first ? n * d + q : q * width + n;
        return load_weight(made.data(), DType::f32, static_cast<std::size_t>(i));
      };
      neurons.push_back(n != 3 && at(0) != dense.at(n, 0));
      for (std::int64_t q = 0; q < d; ++q) {
        if (n == 3) {
          ASSERT_EQ(at(q), 0.0F);
        }
        if (!neurons.back()) continue;
        sum += at(q);
        squares += at(q) * at(q);
        ++count;
      }
    }
    EXPECT_NEAR(sum / count, 0.2, 0.02);  // the dense matrix's mean and deviation
    EXPECT_NEAR(std::sqrt(squares / count - 0.04), 1.0, 0.02);
  }
  EXPECT_EQ(changed[0], changed[1]);
  const auto count = std::count(changed[0].begin(), changed[0].end(), true);
  EXPECT_GE(count, 209);
  EXPECT_LE(count, 210);
}

}  // namespace
}  // namespace moebius
