#include "convert/upcycle.h"

#include <cmath>

#include "base/error.h"
#include "base/parallel.h"
#include "base/random.h"

namespace moebius {
namespace {

/// Fixed blocks, so that sums in f64 do not depend on the number of threads.
constexpr std::size_t block = 1 << 16;

/// Sum over all elements of `term`, block by block.
template <class Term>
double sum_elements(const TensorEntry& entry, int threads, Term term) {
  const auto count = static_cast<std::size_t>(entry.elements());
  std::vector<double> sums((count + block - 1) / block);
  parallel_for(count, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t b = (begin + block - 1) / block; b * block < end; ++b) {
      double sum = 0;
      for (std::size_t i = b * block; i < std::min(count, (b + 1) * block); ++i) {
        sum += term(static_cast<double>(load_weight(entry.data, entry.dtype, i)));
      }
      sums[b] = sum;
    }
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace

std::vector<float> random_router(std::int64_t experts, std::int64_t d_model, double rms,
                                 std::uint64_t seed, std::int64_t layer) {
  const Random random(seed, stream_of(fmt::format("router {}", layer)));
  const double deviation = 1.0 / (std::sqrt(static_cast<double>(d_model)) * rms);
  std::vector<float> router(static_cast<std::size_t>(experts * d_model));
  for (std::size_t i = 0; i < router.size(); ++i) {
    router[i] = static_cast<float>(deviation * random.normal(i));
  }
  return router;
}

double norm_output_rms(const TensorEntry& weight, const TensorEntry* bias) {
  const auto square = [](double x) { return x * x; };
  double sum = sum_elements(weight, 1, square);
  if (bias != nullptr) sum += sum_elements(*bias, 1, square);
  const double rms = std::sqrt(sum / static_cast<double>(weight.elements()));
  return rms > 0 && std::isfinite(rms) ? rms : 1.0;
}

double standard_deviation(const TensorEntry& entry, int threads) {
  const auto count = static_cast<double>(entry.elements());
  const double mean = sum_elements(entry, threads, [](double x) { return x; }) / count;
  const double squares =
      sum_elements(entry, threads, [mean](double x) { return (x - mean) * (x - mean); });
  return std::sqrt(squares / count);
}

void add_noise(const TensorEntry& entry, std::size_t begin, std::size_t count, double deviation,
               std::uint64_t seed, const std::string& stream, int threads,
               std::span<std::byte> out) {
  const Random random(seed, stream_of(stream));
  parallel_for(count, threads, [&](std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) {
      const double value = load_weight(entry.data, entry.dtype, begin + i);
      store_weight(out.data(), entry.dtype, i,
                   static_cast<float>(value + deviation * random.normal(begin + i)));
    }
  });
}

std::string noise_stream(const std::string& dense_tensor, std::int64_t expert) {
  return fmt::format("{} expert {}", dense_tensor, expert);
}

}  // namespace moebius
