#pragma once

namespace moebius {

struct AdamWOptions {
  double weight_decay = 0.01;  ///< of parameters that decay
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
};

}  // namespace moebius
