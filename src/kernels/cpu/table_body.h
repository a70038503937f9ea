// All kernels of an instruction set, included once by its file, inside its own namespace, after the
// definitions that the bodies below need. They call no inline function from elsewhere, not even of
// the standard library: the linker could keep this file's copy of it for the whole program.

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
