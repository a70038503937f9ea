#pragma once

#include "moe/moe.h"

namespace moebius {

/// How far the experts of a layer are apart: sqrt(mean_e ||W_e - W||^2) / ||W||, W being their
/// mean, over all matrices. 0 for copies. Reads all experts.
double expert_distance(const Moe& moe);

}  // namespace moebius
