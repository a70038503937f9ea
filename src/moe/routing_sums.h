// What routers did over many tokens.
#pragma once

#include <cstdint>
#include <vector>

namespace moebius {

struct RoutingSums {
  struct Layer {
    std::vector<double> tokens_E;  ///< that chose each expert; empty in dense layers
    double visits = 0;             ///< experts with a token, summed over passes
    double entropy = 0;            ///< of the router's softmax, nats, summed over tokens
  };
  std::vector<Layer> layers;
  std::int64_t tokens = 0;
};

}  // namespace moebius
