#include "convert/statistics.h"

#include <cmath>
#include <vector>

#include "base/parallel.h"

namespace moebius {
namespace {

/// Fixed blocks, so that sums in f64 do not depend on the number of threads.
constexpr std::size_t block = 1 << 16;

/// Sum over all elements of `term`, block by block.
template <class Term>
double sum_elements(const WeightSlice& slice, int threads, Term term) {
  const std::size_t count = slice.elements();
  std::vector<double> sums((count + block - 1) / block);
  parallel_for(count, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t b = (begin + block - 1) / block; b * block < end; ++b) {
      double sum = 0;
      for (std::size_t i = b * block; i < std::min(count, (b + 1) * block); ++i) {
        sum += term(static_cast<double>(slice[i]));
      }
      sums[b] = sum;
    }
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace

Statistics statistics_of(const WeightSlice& slice, int threads) {
  const auto count = static_cast<double>(slice.elements());
  const double mean = sum_elements(slice, threads, [](double x) { return x; }) / count;
  const double squares =
      sum_elements(slice, threads, [mean](double x) { return (x - mean) * (x - mean); });
  return {mean, std::sqrt(squares / count)};
}

double norm_output_rms(const WeightSlice& weight, const std::optional<WeightSlice>& bias) {
  const auto square = [](double x) { return x * x; };
  double sum = sum_elements(weight, 1, square);
  if (bias) sum += sum_elements(*bias, 1, square);
  const double rms = std::sqrt(sum / static_cast<double>(weight.elements()));
  return rms > 0 && std::isfinite(rms) ? rms : 1.0;
}

}  // namespace moebius
