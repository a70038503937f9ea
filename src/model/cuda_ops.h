// The operations of the graph on a GPU: those on tensors, but where a pass has few rows, as every
// new token has, kernels of our own that read each weight once; and weights may be packed. Nothing
// waits for the device where tokens are few, so that such a pass can be captured and queued again.
#pragma once

#include "kernels/cuda/kernels.h"
#include "model/tensor_ops.h"

namespace moebius {

/// Up to so many rows kernels read a weight fewer times than products of tensors cost: packed ones
/// would have to be unpacked for them. A pass of no more never waits for the device.
inline constexpr std::int64_t few_rows = 8, few_rows_of_packed = 32;

/// What a pass over one new token each of B sequences reads from the device's memory; between
/// passes it is exchanged there.
struct DecodeInputs {
  at::Tensor ids_B1;      ///< int64
  at::Tensor lengths_B;   ///< int64: tokens in each cache
  at::Tensor caches_LB2;  ///< int64: the addresses of `kernels::cuda::KvTensors`
  Rotary rotary;          ///< [B, half of what turns]
};

/// The table of DecodeInputs for caches of B sequences, in the CPU's memory.
void fill_table(std::span<const KvCache* const> caches, const at::Tensor& caches_LB2);

/// Copies of packed matrices in the memory of `device`.
PackedWeight packed_on(at::Device device, const PackedWeight& w);
/// Packed matrices as a tensor [E, N, K].
at::Tensor unpacked(const PackedWeight& w, at::ScalarType dtype, at::Device device);

class CudaOps : public TensorOps {
 public:
  /// One pass over tokens [1, S], which follow those of `cache`, if there is one.
  CudaOps(const ModelSpec& spec, std::int64_t count, at::ScalarType dtype, at::Device device,
          KvCache* cache = nullptr)
      : TensorOps(spec, count, dtype, device, cache) {}
  /// One pass over a token each of B sequences, [B, 1].
  CudaOps(const ModelSpec& spec, at::ScalarType dtype, const DecodeInputs& inputs)
      : TensorOps(spec, dtype, inputs.rotary), inputs_(&inputs) {}

  Tensor add_positions(const Tensor& x, const Weight& w_CD) const;

  Tensor norm(const Tensor& x, const NormOf<Weight>& w) const;
  Tensor norm_sum(const Tensor& x, const NormOf<Weight>& w) const { return norm(x, w); }
  Tensor rms_norm(const Tensor& x, const Weight& w, double eps, std::int64_t heads) const;

  Tensor linear(const Tensor& x, const Linear& l) const { return products(x, {l})[0]; }
  template <std::size_t N>
  std::array<Tensor, N> products(const Tensor& x, const Linear (&ls)[N]) const {
    Input input(x);
    std::array<Tensor, N> out;
    for (std::size_t i = 0; i < N; ++i) out[i] = product(input, ls[i]);
    return out;
  }
  Tensor add_linear(const Tensor& x, const Tensor& y, const Linear& l) const;

  Tensor rotate(const Tensor& x, std::int64_t heads) const;
  Tensor attend(std::size_t layer, const Tensor& q, const Tensor& k, const Tensor& v);
  Tensor attend_to_latents(std::size_t layer, const Tensor& q, const Tensor& k, const Tensor& c,
                           const Weight& b);

  Tensor add_ffn(const Tensor& x, const Tensor& y, const Ffn& w, std::size_t layer) const;
  Tensor add_moe(const Tensor& x, const Tensor& y, const Moe& w, std::size_t layer);

 private:
  /// Rows that meet several matrices; they are quantised once.
  struct Input {
    explicit Input(const Tensor& x) : x(x) {}
    Tensor x;              ///< [..., K]
    Tensor codes, scales;  ///< for matrices of `shape`
    kernels::PackedShape shape;
  };

  void quantise(Input& input, const kernels::PackedShape& shape) const;
  Tensor product(Input& input, const Linear& l) const;
  /// Rows of x meet w as `rows` says: [rows, N], or what `onto` [rows, N] becomes by them.
  Tensor multiply(Input& input, const kernels::cuda::ProductRows& rows, const Linear& l,
                  const Tensor& onto = {}) const;
  /// The FFN of one matrix each for all rows, or of each row's expert.
  Tensor ffn_rows(Input& input, const kernels::cuda::ProductRows& rows, const Ffn& w,
                  const Tensor& onto = {}) const;
  Tensor attend_to_past(std::size_t layer, const Tensor& q, const Tensor& k, const Tensor& v,
                        std::int64_t groups, std::int64_t value_dim) const;
  /// What is added to the experts' sum: [T, D], or undefined.
  Tensor shared_part(Input& input, const Moe& w, const MoeSpec& moe) const;

  const DecodeInputs* inputs_ = nullptr;
};

}  // namespace moebius
