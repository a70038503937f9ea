#include <cstdlib>

#include "kernels/cpu/tables.h"
#include "kernels/kernels.h"

namespace moebius::kernels {
namespace {

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

const KernelTable* pick() {
  if (const char* wanted = std::getenv("MOEBIUS_ISA")) return table_for(wanted);
  if (has_avx512()) return &avx512::table;
  if (has_avx2()) return &avx2::table;
  return &ref::table;
}

}  // namespace

const KernelTable* table_for(std::string_view isa) {
  if (isa == "ref") return &ref::table;
  if (isa == "avx2" && has_avx2()) return &avx2::table;
  if (isa == "avx512" && has_avx512()) return &avx512::table;
  return nullptr;
}

const KernelTable* table() {
  static const KernelTable* const picked = pick();
  return picked;
}

}  // namespace moebius::kernels
