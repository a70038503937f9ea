// Where tensors of the CPU live.
#pragma once

namespace moebius::ops {

/// From now on large tensors live in large pages, and their memory is kept when they go, for the
/// next ones: a training step asks for what the step before gave back, and the system would clear
/// every page of it again. What is kept beyond what is in use is given back. For the rest
/// of the process.
void keep_tensor_memory();

}  // namespace moebius::ops
