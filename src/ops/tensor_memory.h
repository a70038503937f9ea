// An allocator for tensors on the CPU.
#pragma once

namespace moebius::ops {

/// From now on large tensors are allocated in huge pages, and freed memory is kept for the next
/// ones: a training step allocates what the step before freed, and the system would zero every page
/// again. Cached memory beyond what is in use is released. Holds for the rest of the process.
void keep_tensor_memory();

}  // namespace moebius::ops
