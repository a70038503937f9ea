#pragma once

#include <array>

namespace moebius {

/// How the balance losses of the layers combine.
enum class BalanceForm {
  layer,  ///< mean over layers, each with the minimum 1
  pooled  ///< as in transformers: all layers pooled, with the minimum K
};
constexpr auto names_of(BalanceForm) {
  return std::array{"layer", "pooled"};
}

}  // namespace moebius
