// All kernels of an instruction set, included once by its file inside its own namespace, after that
// has defined what the bodies below ask for. No inline function from elsewhere is called in them,
// not even of the standard library: the linker might keep this file's copy for the whole program.

// Each body uses what the ones before define.
// clang-format off
#include "kernels/cpu/rows_gemm_body.h"
#include "kernels/cpu/panel_body.h"
#include "kernels/cpu/elementwise_body.h"
#include "kernels/cpu/limits_body.h"
// clang-format on

static constexpr KernelTable table_named(const char* isa) {
  return {.isa = isa,
          .rows_gemm = rows_gemm,
          .tile_rows = {TILE_F32, TILE_BF16, TILE_INT, TILE_INT},
          .prepare = prepare,
          .interleave = interleave,
          .tile = tile,
          .activate = activate,
          .add_scaled = add_scaled,
          .softmax = softmax,
          .merge_softmax = merge_softmax,
          .norm = norm,
          .rotate = rotate,
          .peak = peak,
          .read = read};
}
