// Memory of the CPU's tensors, kept from one training step to the next.
#pragma once

namespace moebius::ops {

/// While at least one lives, LibTorch allocates large tensors of the CPU (from 1 MiB) in large
/// pages and keeps their memory when they are freed, for the next ones: a training step allocates
/// what the step before freed, and the system would clear every page of it again. No more is kept
/// than is in use. The allocator of LibTorch is one for the process, so other jobs in it share the
/// effect.
///
/// When the last one ends, the allocator that was set before is set again and what is kept is
/// freed. Tensors that outlive it stay valid and free their memory as usual.
class KeptTensorMemory {
 public:
  KeptTensorMemory();
  ~KeptTensorMemory();
  KeptTensorMemory(const KeptTensorMemory&) = delete;
  KeptTensorMemory& operator=(const KeptTensorMemory&) = delete;
};

}  // namespace moebius::ops
