// Attention of a new token as a GPU does it, in double precision beside it.
#include <gtest/gtest.h>

#include <cstring>

#include "kernels/cuda/kernels.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

struct Shape {
  std::int64_t heads, groups, key_dim, value_dim;
  bool inside = false;  ///< values are the last columns of keys
};

/// Sequences with a past of these lengths, and a new token each.
class Problem {
 public:
  Problem(ValueType type, const Shape& shape, const std::vector<std::int64_t>& past)
      : shape_(shape),
        type_(type),
        past_(past),
        q_(values(shape.heads * shape.key_dim, 1)),
        k_(values(shape.groups * shape.key_dim, 2)),
        v_(values(shape.groups * shape.value_dim, 3)) {
    for (std::size_t b = 0; b < past.size(); ++b) {
      const std::int64_t capacity = past[b] + 3;
      keys_.emplace_back(type, normal(capacity * shape.groups * shape.key_dim, 10 + b));
      caches_.emplace_back(type, normal(capacity * shape.groups * shape.value_dim, 50 + b));
      if (shape.inside) take_from_keys(keys_.back(), caches_.back());
    }
    if (shape.inside) take_from_keys(k_, v_);
  }

  Values run(std::int64_t splits, std::int64_t window, float scale) {
    std::vector<cuda::KvTensors> sequences;
    for (std::size_t b = 0; b < past_.size(); ++b) {
      sequences.push_back({keys_[b].bytes.data(), shape_.inside
                                                      ? at(keys_[b].bytes.data(), type_, begins())
                                                      : caches_[b].bytes.data()});
    }
    const std::int64_t count = std::ssize(past_);
    Stored y(type_, count * shape_.heads * shape_.value_dim);
    std::vector<float> partial(index(count * shape_.heads * splits * (shape_.value_dim + 2)),
                               std::nanf(""));
    EXPECT_EQ(
        cuda::decode_attention({.type = type_,
                                .sequences = sequences.data(),
                                .lengths = past_.data(),
                                .q = q_.bytes.data(),
                                .k = k_.bytes.data(),
                                .v = shape_.inside ? nullptr : v_.bytes.data(),
                                .y = y.bytes.data(),
                                .partial = partial.data(),
                                .count = count,
                                .heads = shape_.heads,
                                .groups = shape_.groups,
                                .key_dim = shape_.key_dim,
                                .value_dim = shape_.value_dim,
                                .value_apart = shape_.inside ? shape_.key_dim : shape_.value_dim,
                                .splits = splits,
                                .window = window,
                                .scale = scale},
                               nullptr),
        nullptr);
    return y.values();
  }

  Values expected(std::int64_t window, double scale) const {
    Values out;
    const Values q = q_.values(), k = k_.values(), v = v_.values();
    for (std::size_t b = 0; b < past_.size(); ++b) {
      Values keys = keys_[b].values(), values = caches_[b].values();
      const auto put = [&](Values& cache, const Values& rows, std::int64_t width) {
        std::copy_n(rows.begin() + std::ptrdiff_t(b) * width, width,
                    cache.begin() + past_[b] * width);
      };
      put(keys, k, shape_.groups * shape_.key_dim);
      put(values, v, shape_.groups * shape_.value_dim);
      const std::int64_t length = past_[b] + 1;
      for (std::int64_t h = 0; h < shape_.heads; ++h) {
        const std::int64_t g = h * shape_.groups / shape_.heads;
        Values y(index(shape_.value_dim), 0.0);
        double sum = 0;
        for (std::int64_t t = window > 0 ? std::max<std::int64_t>(0, length - window) : 0;
             t < length; ++t) {
          double dot = 0;
          for (std::int64_t i = 0; i < shape_.key_dim; ++i) {
            dot += q[index((std::int64_t(b) * shape_.heads + h) * shape_.key_dim + i)] *
                   keys[index((t * shape_.groups + g) * shape_.key_dim + i)];
          }
          const double share = std::exp(dot * scale);
          sum += share;
          for (std::int64_t c = 0; c < shape_.value_dim; ++c) {
            y[index(c)] += share * values[index((t * shape_.groups + g) * shape_.value_dim + c)];
          }
        }
        for (const double value : y) out.push_back(value / sum);
      }
    }
    return out;
  }

 private:
  /// Of values in a key.
  std::int64_t begins() const { return shape_.key_dim - shape_.value_dim; }
  void take_from_keys(const Stored& keys, Stored& values) const {
    const auto size = size_of(type_), rows = std::ssize(keys.bytes) / size / shape_.key_dim;
    for (std::int64_t r = 0; r < rows; ++r) {
      std::memcpy(at(values.bytes.data(), type_, r * shape_.value_dim),
                  at(keys.bytes.data(), type_, r * shape_.key_dim + begins()),
                  index(shape_.value_dim * size));
    }
  }
  Stored values(std::int64_t width, std::uint64_t stream) const {
    return {type_, normal(std::ssize(past_) * width, stream)};
  }

  Shape shape_;
  ValueType type_;
  std::vector<std::int64_t> past_;
  Stored q_, k_, v_;
  std::vector<Stored> keys_, caches_;
};

void expect_softmax(std::initializer_list<Shape> shapes) {
  for (const Shape& shape : shapes) {
    for (const ValueType type : {ValueType::f32, ValueType::bf16}) {
      Problem problem(type, shape, {0, 1, 63, 200, 64});
      for (const std::int64_t splits : {1, 3, 8}) {
        for (const std::int64_t window : {0, 1, 70}) {
          EXPECT_LT(distance(problem.run(splits, window, 0.2f), problem.expected(window, 0.2)),
                    type == ValueType::f32 ? 1e-6 : 4e-3)
              << shape.heads << " " << splits << " " << window;
        }
      }
    }
  }
}

TEST(CudaDecodeAttention, IsSoftmaxOverThePastAndItself) {
  expect_softmax({{6, 2, 24, 20}, {4, 2, 13, 9, true}});
}

TEST(LongCudaDecodeAttention, IsSoftmaxOverThePastAndItself) {
  expect_softmax(
      {{2, 2, 64, 64}, {4, 2, 64, 96}, {20, 2, 40, 33}, {3, 1, 13, 200}, {6, 1, 40, 32, true}});
}

TEST(CudaDecodeAttention, LargeScores) {
  Problem problem(ValueType::f32, {4, 4, 16, 16}, {150});
  EXPECT_LT(distance(problem.run(2, 0, 20.0f), problem.expected(0, 20.0)), 1e-5);
}

TEST(CudaDecodeAttention, RefusesWhatABlockCannotHold) {
  EXPECT_NE(cuda::decode_attention({.type = ValueType::f32, .value_dim = 1025}, nullptr), nullptr);
}

}  // namespace
}  // namespace moebius::kernels
