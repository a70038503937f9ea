// Sparse upcycling (Komatsuzaki et al., 2022): every expert is a copy of the dense FFN, with noise
// if asked for; the router is fresh. All of it depends on (seed, names, indices) alone, so the
// layer test and the writer make the same bytes, at any number of threads.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace moebius {

/// Router weights [E, D], row-major, normal with standard deviation 1 / (sqrt(D) rms): a token of
/// root mean square `rms` then has logits of standard deviation 1, and the softmax is far from
/// saturated. `rms` is what the norm before the router makes of a normalised token.
std::vector<float> random_router(std::int64_t experts, std::int64_t d_model, double rms,
                                 std::uint64_t seed, std::int64_t layer);

/// Root mean square of a norm's output, from its weight and bias (null: none): sqrt(mean(g^2 +
/// b^2)).
double norm_output_rms(const TensorEntry& weight, const TensorEntry* bias);

/// Standard deviation of all elements, in f64.
double standard_deviation(const TensorEntry& entry, int threads);

/// Elements [begin, begin + count) of `entry` plus `deviation` times standard normal numbers of the
/// stream named `stream`, in the entry's dtype, into `out`.
void add_noise(const TensorEntry& entry, std::size_t begin, std::size_t count, double deviation,
               std::uint64_t seed, const std::string& stream, int threads,
               std::span<std::byte> out);

/// Name of the random stream of one expert's tensor.
std::string noise_stream(const std::string& dense_tensor, std::int64_t expert);

}  // namespace moebius
