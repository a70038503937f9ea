// Setting LibTorch up for a command, without showing LibTorch to it.
#pragma once

#include "base/context.h"

namespace moebius {

/// Sets the number of threads and checks that the device exists; throws UsageError naming it.
void init_runtime(const Context& ctx);

/// Another number of threads for as long as this object lives.
class ComputeThreads {
 public:
  explicit ComputeThreads(int threads);
  ~ComputeThreads();
  ComputeThreads(const ComputeThreads&) = delete;
  ComputeThreads& operator=(const ComputeThreads&) = delete;

 private:
  int before_;
};

/// One line about the machine: LibTorch's version and the instruction set it uses.
std::string runtime_description();

}  // namespace moebius
