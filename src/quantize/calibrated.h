// Weights that are quantised for the text which a model reads.
#pragma once

#include <functional>
#include <span>

#include "base/executor.h"
#include "model/load.h"

namespace moebius {

/// Replaces matrices of `model` by packed ones, int8 or int4, chosen for what they meet when the
/// model reads `sequences`, int64 [1, S] each: layer by layer, of which each sees what the
/// quantised ones before it make of the text. An expert that few tokens reach is chosen for others
/// of its layer too. What is not a product of tokens with a weight stays as it is: routers, norms,
/// embedding, what keys and values are made of from latents. `on_layer` is called after each layer
/// with how many are done. Throws Error where a layer's inputs are not finite.
void quantise_for_text(Model& model, std::span<const at::Tensor> sequences,
                       kernels::PackedType type, Executor& executor,
                       const std::function<void(std::int64_t done)>& on_layer);

}  // namespace moebius
