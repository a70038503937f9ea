// All kernels of an instruction set, included once by its file inside its own namespace, after that
// has defined what the bodies below ask for. No inline function from elsewhere is called in them,
// not even of the standard library: the linker might keep this file's copy for the whole program.

// Each body uses what the ones before define.
// clang-format off
#include "kernels/cpu/layout_body.h"
#include "kernels/cpu/panel_body.h"
#include "kernels/cpu/elementwise_body.h"
#include "kernels/cpu/limits_body.h"
// clang-format on

static constexpr KernelTable table_named(const char* isa) {
  return {.isa = isa,
          .tile_rows = {TILE_F32, TILE_BF16, TILE_INT, TILE_INT},
          .prepare = prepare,
          .interleave = interleave,
          .lay_out = lay_out,
          .tile = tile,
          .activate = activate,
          .activate_backward = activate_backward,
          .convert = convert,
          .add_scaled = add_scaled,
          .softmax = softmax,
          .softmax_backward = softmax_backward,
          .merge_softmax = merge_softmax,
          .norm = norm,
          .adamw = adamw,
          .sum_of_squares = sum_of_squares,
          .rotate = rotate,
          .peak = peak,
          .read = read};
}
