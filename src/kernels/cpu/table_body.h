// All kernels of an instruction set, included once by its file inside its own namespace, after that
// has defined what the bodies below ask for. No inline function from elsewhere is called in them,
// not even of the standard library: the linker might keep this file's copy for the whole program.

// Each body uses what the ones before define.
// clang-format off
#include "kernels/cpu/pack_body.h"
#include "kernels/cpu/panel_body.h"
#include "kernels/cpu/elementwise_body.h"
#include "kernels/cpu/transpose_body.h"
#include "kernels/cpu/attention_body.h"
#include "kernels/cpu/limits_body.h"
#include "kernels/cpu/table_entries.h"
// clang-format on
