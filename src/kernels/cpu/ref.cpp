// The scalar kernels: the oracle of every test, and what runs where nothing better does.
#include "base/dtype.h"
#include "kernels/cpu/tables.h"

namespace moebius::kernels::ref {
namespace {

float weight_at(const RowsGemm& a, std::int64_t index) {
  switch (a.type) {
    case WeightType::bf16:
      return bf16_to_f32(static_cast<const std::uint16_t*>(a.w)[index]);
    case WeightType::f16:
      return f16_to_f32(static_cast<const std::uint16_t*>(a.w)[index]);
    case WeightType::f32:
      break;
  }
  return static_cast<const float*>(a.w)[index];
}

void rows_gemm(const RowsGemm& a, std::int64_t n_begin, std::int64_t n_end) {
  for (std::int64_t m = 0; m < a.m; ++m) {
    for (std::int64_t n = n_begin; n < n_end; ++n) {
      float sum = 0;
      for (std::int64_t k = 0; k < a.k; ++k) {
        sum += a.x[m * a.ldx + k] * weight_at(a, n * a.ldw + k);
      }
      a.y[m * a.ldy + n] = sum;
    }
  }
}

}  // namespace

const KernelTable table{"ref", rows_gemm};

}  // namespace moebius::kernels::ref
