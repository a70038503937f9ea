// The experts of a layer in one operation, from tokens to the weighted sums of their outputs; or
// one FFN.
#pragma once

#include <ATen/core/Tensor.h>

#include "config/weights.h"
#include "ops/weight.h"

namespace moebius::ops {

/// Whether `grouped_ffn` serves: tensors on the CPU, in f32 with weights of any float type, or in
/// bf16; or packed weights with either.
bool suits_grouped_ffn(const at::Tensor& x, const FfnOf<Weight>& w);

/// y [T, D]: for each token t of x [T, D] the sum over k of weights [T, K] (f32) times the FFN of
/// expert ids [T, K] (int64): down(act(gate x) * up x), or without gate down(act(up x)). Weights of
/// w have a leading E. Sums run in f32 and in the same order every time. With gradients to x,
/// `weights` and w, for which gate x and up x are kept, and no copies of rows. Packed matrices are
/// frozen: x, `weights` and biases get the gradients of the layer with dequantised weights.
///
/// The weights of an expert are read once for all of its tokens (as in MegaBlocks, Gale et al.
/// 2022, without its padding).
at::Tensor grouped_ffn(const at::Tensor& x_TD, const at::Tensor& ids_TK,
                       const at::Tensor& weights_TK, const FfnOf<Weight>& w, Activation activation);

/// That of one FFN, whose weights have no leading E, for rows x [..., D].
at::Tensor ffn(const at::Tensor& x, const FfnOf<Weight>& w, Activation activation);

}  // namespace moebius::ops
