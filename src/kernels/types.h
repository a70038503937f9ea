// Enumerations that configurations and kernels share.
#pragma once

namespace moebius::kernels {

/// How values are stored.
enum class ValueType { f32, f16, bf16 };

/// How packed weights are stored, see panel_layout.h: int8 and int4 in groups with scales.
enum class PackedType { f32, bf16, int8, int4 };
inline constexpr int packed_types = 4;

enum class Activation { silu, gelu_tanh, gelu_erf, relu };

/// How the K chosen experts are weighted, s being the logits of all E experts:
/// `softmax_renorm` softmax over the chosen (Mixtral, Granite), `softmax` over all E without
/// renormalising, `sigmoid` of each logit, `sigmoid_renorm` that over the sum of the chosen, `one`
/// for a plain sum, `one_plus` 1 + u_e softmax(s)_e with a learned u_E that starts at 0: a plain
/// sum from which training can depart. Formulas: router_weighting.h.
enum class RouterWeights { softmax_renorm, softmax, sigmoid, sigmoid_renorm, one, one_plus };

}  // namespace moebius::kernels
