// The whole interface between the program and its kernels: raw pointers, dimensions, a slice of
// the work. Kernels know no torch, allocate nothing and throw nothing.
#pragma once

#include <cstdint>
#include <string_view>

namespace moebius::kernels {

enum class WeightType { f32, f16, bf16 };

/// y [M, N] = x [M, K] times w [N, K] transposed, for columns [n_begin, n_end) of y. x and y f32,
/// sums in f32; w is widened in registers, so a bf16 weight is read as the 2 bytes it is. Rows lie
/// `ldx`, `ldw`, `ldy` elements apart. Meant for few rows (M up to some hundred), where w is what
/// has to be streamed from memory.
struct RowsGemm {
  const float* x;
  const void* w;
  float* y;
  std::int64_t m, n, k;
  std::int64_t ldx, ldw, ldy;
  WeightType type;
};
using RowsGemmFn = void (*)(const RowsGemm& args, std::int64_t n_begin, std::int64_t n_end);

/// One implementation of every kernel.
struct KernelTable {
  const char* isa;
  RowsGemmFn rows_gemm;
};

/// The best table for this processor, picked once; MOEBIUS_ISA=ref|avx2|avx512 overrides it.
/// Null if MOEBIUS_ISA names one that is unknown or that this processor lacks.
const KernelTable* table();
/// The table of that name, or null.
const KernelTable* table_for(std::string_view isa);

}  // namespace moebius::kernels
