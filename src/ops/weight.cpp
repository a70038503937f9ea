#include "ops/weight.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"

namespace moebius {

const kernels::KernelTable& kernel_table() {
  if (const kernels::KernelTable* table = kernels::table()) return *table;
  throw Error("MOEBIUS_ISA names an instruction set that is unknown or that this processor lacks",
              "unset it, or use ref, avx2, avx512 or avx512bf16");
}

void widen_row(const at::Tensor& w, std::int64_t row, float* out) {
  const std::int64_t width = w.size(1), begin = row * w.stride(0), step = w.stride(1);
  if (w.scalar_type() == at::kFloat) {
    const auto* from = w.const_data_ptr<float>() + begin;
    for (std::int64_t i = 0; i < width; ++i) out[i] = from[i * step];
    return;
  }
  const auto* from = static_cast<const std::uint16_t*>(w.const_data_ptr()) + begin;
  const bool bf16 = w.scalar_type() == at::kBFloat16;
  for (std::int64_t i = 0; i < width; ++i) {
    out[i] = bf16 ? bf16_to_f32(from[i * step]) : f16_to_f32(from[i * step]);
  }
}

PackedWeight::PackedWeight(const kernels::PackedShape& shape, std::int64_t count,
                           std::shared_ptr<std::byte> memory)
    : shape_(shape), count_(count), memory_(std::move(memory)) {}

std::int64_t PackedWeight::bytes_of(const kernels::PackedShape& shape, std::int64_t count) {
  return count * shape.bytes();
}

kernels::Matrix PackedWeight::matrix(std::int64_t expert) const {
  return {shape_, data(expert)};
}

at::Tensor QuantisedMatrix::dequantised() const {
  return codes_NK.to(at::kFloat) *
         scales_NG.to(at::kFloat).repeat_interleave(group, 1).narrow(1, 0, codes_NK.size(1));
}

PackedWeight WeightPacker::take(const kernels::PackedShape& shape, std::int64_t count) {
  return {shape, count, memory_.take(PackedWeight::bytes_of(shape, count))};
}

PackedWeight WeightPacker::pack(const at::Tensor& w, kernels::PackedType type, std::int64_t group) {
  const kernels::PackedShape shape{type, w.size(-2), w.size(-1), group};
  const at::Tensor matrices = w.dim() == 3 ? w : w.unsqueeze(0);
  PackedWeight packed = take(shape, matrices.size(0));
  const bool one = matrices.stride(0) == 0;  // E times one matrix
  for (std::int64_t e = 0; e < packed.count(); ++e) {
    if (e > 0 && one) {
      std::copy_n(packed.data(0), shape.bytes(), packed.data(e));
    } else {
      pack_matrix(matrices[e], shape, packed.data(e));
    }
  }
  return packed;
}

PackedWeight WeightPacker::pack(std::span<const QuantisedMatrix> matrices) {
  const QuantisedMatrix& first = matrices[0];
  const kernels::PackedShape shape{first.type, first.codes_NK.size(0), first.codes_NK.size(1),
                                   first.group};
  PackedWeight packed = take(shape, std::ssize(matrices));
  for (std::int64_t e = 0; e < packed.count(); ++e) {
    const QuantisedMatrix& from = matrices[static_cast<std::size_t>(e)];
    const at::Tensor codes = from.codes_NK.contiguous(), scales = from.scales_NG.contiguous();
    executor_.run(packed.shape().panels(), [&](std::int64_t panel, int) {
      kernels::pack_codes(packed.shape(), codes.const_data_ptr<std::int8_t>(),
                          static_cast<const std::uint16_t*>(scales.const_data_ptr()), codes.size(1),
                          panel, panel + 1, packed.data(e));
    });
  }
  return packed;
}

void WeightPacker::pack_matrix(const at::Tensor& w, const kernels::PackedShape& shape,
                               std::byte* data) {
  const at::Tensor rows = w.stride(-1) == 1 || w.size(-1) == 1 ? w : w.contiguous();
  const std::int64_t stride = rows.stride(0);
  std::vector<std::vector<float>> scratch(static_cast<std::size_t>(executor_.threads()));
  for (auto& each : scratch) each.resize(static_cast<std::size_t>(kernels::panel_width * shape.k));
  executor_.run(shape.panels(), [&](std::int64_t panel, int thread) {
    const std::int64_t first = panel * kernels::panel_width;
    const auto pack_from = [&](const float* from, std::int64_t ld) {
      kernels::pack(shape, from - first * ld, ld, panel, panel + 1, data);
    };
    if (rows.scalar_type() == at::kFloat) {
      return pack_from(rows.const_data_ptr<float>() + first * stride, stride);
    }
    if (rows.scalar_type() == at::kBFloat16 && shape.type == kernels::PackedType::bf16) {
      const auto* from = static_cast<const std::uint16_t*>(rows.const_data_ptr());
      return kernels::pack_bf16(shape, from, stride, panel, panel + 1, data);
    }
    float* widened = scratch[static_cast<std::size_t>(thread)].data();
    for (std::int64_t n = first; n < std::min(first + kernels::panel_width, shape.n); ++n) {
      widen_row(rows, n, widened + (n - first) * shape.k);
    }
    pack_from(widened, shape.k);
  });
}

const at::Tensor& Weight::plain() const {
  if (packed_ != nullptr) {
    throw Error("a packed weight cannot be used here", "open the model with --weights f32");
  }
  return plain_;
}

at::Tensor& Weight::plain() {
  return const_cast<at::Tensor&>(static_cast<const Weight&>(*this).plain());
}

}  // namespace moebius
