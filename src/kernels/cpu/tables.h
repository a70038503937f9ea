#pragma once

#include "kernels/kernels.h"

namespace moebius::kernels {

namespace ref {
extern const KernelTable table;
}
namespace avx2 {
extern const KernelTable table;
}
namespace avx512 {
extern const KernelTable table;
}
namespace avx512bf16 {
extern const KernelTable table;
}

}  // namespace moebius::kernels
