// Passes over tokens, as tests of models that are ready to generate make them.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "infer/backends/inference_model.h"

namespace moebius::support {

using Ids = std::vector<std::int32_t>;

inline Ids some_ids(std::size_t count, std::int32_t first = 3) {
  Ids ids;
  for (std::size_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<std::int32_t>((first + 5 * i * i) % 16));
  }
  return ids;
}

inline at::Tensor copy_of(std::span<const float> scores, std::int64_t vocab) {
  return at::from_blob(const_cast<float*>(scores.data()), {std::ssize(scores) / vocab, vocab})
      .clone();
}

/// Scores after every token, computed in pieces of these lengths.
inline at::Tensor in_pieces(InferenceModel& model, const Ids& ids,
                            const std::vector<std::size_t>& pieces) {
  const auto cache = model.make_cache();
  std::vector<at::Tensor> scores;
  std::size_t at = 0;
  for (const std::size_t count : pieces) {
    const SequencePart part{cache.get(), std::span(ids).subspan(at, count), Scores::all};
    scores.push_back(copy_of(model.run({&part, 1}), model.spec().vocab));
    at += count;
    EXPECT_EQ(cache->length(), static_cast<std::int64_t>(at));
  }
  return at::cat(scores);
}

}  // namespace moebius::support
