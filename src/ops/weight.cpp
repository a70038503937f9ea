#include "ops/weight.h"

#include <ATen/ATen.h>

#include "base/error.h"

namespace moebius {

const kernels::KernelTable& kernel_table() {
  if (const kernels::KernelTable* table = kernels::table()) return *table;
  throw Error("MOEBIUS_ISA names an instruction set that is unknown or that this processor lacks",
              "unset it, or use ref, avx2, avx512 or avx512bf16");
}

CpuBackend::CpuBackend(int threads) : table(kernel_table()), executor(threads) {}

PackedWeight::PackedWeight(const at::Tensor& w, kernels::PackedType type, std::int64_t group,
                           std::shared_ptr<CpuBackend> backend)
    : shape_{type, w.size(-2), w.size(-1), group}, backend_(std::move(backend)) {
  const at::Tensor matrices = w.dim() == 3 ? w : w.unsqueeze(0);
  const std::int64_t count = matrices.size(0), panels = shape_.panels();
  data_ = at::empty({count, shape_.bytes()}, at::kByte);
  scales_ = at::empty({count, shape_.scales()}, at::kBFloat16);
  auto* data = data_.mutable_data_ptr<std::uint8_t>();
  auto* scales = static_cast<std::uint16_t*>(scales_.mutable_data_ptr());
  for (std::int64_t e = 0; e < count; ++e) {
    const at::Tensor matrix = matrices[e].to(at::kCPU, at::kFloat).contiguous();
    const auto* from = matrix.const_data_ptr<float>();
    backend_->executor.run(panels, [&](std::int64_t panel, int) {
      kernels::pack(shape_, from, shape_.k, panel, panel + 1, data + e * shape_.bytes(),
                    scales + e * shape_.scales());
    });
  }
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
