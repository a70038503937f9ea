#include "ops/weight.h"

#include <ATen/ATen.h>

#include <vector>

#include "base/dtype.h"
#include "base/error.h"

namespace moebius {

const kernels::KernelTable& kernel_table() {
  if (const kernels::KernelTable* table = kernels::table()) return *table;
  throw Error("MOEBIUS_ISA names an instruction set that is unknown or that this processor lacks",
              "unset it, or use ref, avx2, avx512 or avx512bf16");
}

PackedWeight::PackedWeight(const at::Tensor& w, kernels::PackedType type, std::int64_t group,
                           Executor& executor)
    : shape_{type, w.size(-2), w.size(-1), group} {
  const at::Tensor matrices = w.dim() == 3 ? w : w.unsqueeze(0);
  const std::int64_t count = matrices.size(0);
  data_ = at::empty({count, shape_.bytes()}, at::kByte);
  scales_ = at::empty({count, shape_.scales()}, at::kBFloat16);
  const bool one = count > 1 && matrices.stride(0) == 0;  // E times the same
  for (std::int64_t e = 0; e < (one ? 1 : count); ++e) pack(matrices[e], e, executor);
  for (std::int64_t e = 1; one && e < count; ++e) {
    data_[e].copy_(data_[0]);
    scales_[e].copy_(scales_[0]);
  }
}

void PackedWeight::pack(const at::Tensor& w, std::int64_t expert, Executor& executor) {
  const at::Tensor rows = w.stride(-1) == 1 || w.size(-1) == 1 ? w : w.contiguous();
  const std::int64_t stride = rows.stride(0);
  auto* data = data_.mutable_data_ptr<std::uint8_t>() + expert * shape_.bytes();
  auto* scales = static_cast<std::uint16_t*>(scales_.mutable_data_ptr()) + expert * shape_.scales();
  std::vector<std::vector<float>> rooms(static_cast<std::size_t>(executor.threads()));
  for (auto& room : rooms) room.resize(static_cast<std::size_t>(kernels::panel_width * shape_.k));
  executor.run(shape_.panels(), [&](std::int64_t panel, int thread) {
    const std::int64_t first = panel * kernels::panel_width;
    const auto pack_from = [&](const float* from, std::int64_t ld) {
      kernels::pack(shape_, from - first * ld, ld, panel, panel + 1, data, scales);
    };
    if (rows.scalar_type() == at::kFloat) {
      return pack_from(rows.const_data_ptr<float>() + first * stride, stride);
    }
    const auto* from = static_cast<const std::uint16_t*>(rows.const_data_ptr());
    const bool bf16 = rows.scalar_type() == at::kBFloat16;
    if (bf16 && shape_.type == kernels::PackedType::bf16) {
      return kernels::pack_bf16(shape_, from, stride, panel, panel + 1, data);
    }
    float* room = rooms[static_cast<std::size_t>(thread)].data();
    for (std::int64_t n = first; n < std::min(first + kernels::panel_width, shape_.n); ++n) {
      for (std::int64_t k = 0; k < shape_.k; ++k) {
        const std::uint16_t bits = from[n * stride + k];
        room[(n - first) * shape_.k + k] = bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
      }
    }
    pack_from(room, shape_.k);
  });
}

kernels::PackedMatrix PackedWeight::matrix(std::int64_t expert) const {
  return {shape_,
          reinterpret_cast<const std::byte*>(data_.const_data_ptr<std::uint8_t>()) +
              expert * shape_.bytes(),
          static_cast<const std::uint16_t*>(scales_.const_data_ptr()) + expert * shape_.scales()};
}

std::int64_t PackedWeight::bytes() const {
  return static_cast<std::int64_t>(data_.nbytes() + scales_.nbytes());
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
