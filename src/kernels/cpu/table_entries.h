// The one list of kernels: functions and constants of these names in the namespace of the file that
// includes it.

static constexpr KernelTable table_named(const char* isa) {
  return {.isa = isa,
          .tile_rows = {TILE_F32, TILE_BF16, TILE_INT8, TILE_INT4},
          .few_queries = FEW_QUERIES,
          .prepare = prepare,
          .interleave = interleave,
          .pack_lanes = pack_lanes,
          .transpose_panels = transpose_panels,
          .tile = tile,
          .activate = activate,
          .activate_backward = activate_backward,
          .convert = convert,
          .add_rows = add_rows,
          .softmax = softmax,
          .softmax_backward = softmax_backward,
          .merge_softmax = merge_softmax,
          .attend_page = attend_page,
          .norm = norm,
          .norm_backward = norm_backward,
          .adamw = adamw,
          .sum_of_squares = sum_of_squares,
          .rotate = rotate,
          .sum_exp = sum_exp,
          .cross_entropy_backward = cross_entropy_backward,
          .peak = peak,
          .read = read};
}
