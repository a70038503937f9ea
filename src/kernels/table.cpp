#include <cpuid.h>

#include <cstdlib>

#include "kernels/cpu/tables.h"
#include "kernels/kernels.h"

namespace moebius::kernels {
namespace {

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

bool has_avx512bf16() {
  return has_avx512() && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("avx512bf16");
}

/// Not every compiler's __builtin_cpu_supports knows the name.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

const KernelTable* pick() {
  if (const char* wanted = std::getenv("MOEBIUS_ISA")) return table_for(wanted);
  if (has_avx512bf16()) return &avx512bf16::table;
  if (has_avx512()) return &avx512::table;
  if (has_avx2()) return &avx2::table;
  return &ref::table;
}

}  // namespace

const KernelTable* table_for(std::string_view isa) {
  if (isa == "ref") return &ref::table;
  if (isa == "avx2" && has_avx2()) return &avx2::table;
  if (isa == "avx512" && has_avx512()) return &avx512::table;
  if (isa == "avx512bf16" && has_avx512bf16()) return &avx512bf16::table;
  return nullptr;
}

const KernelTable* table() {
  static const KernelTable* const picked = pick();
  return picked;
}

}  // namespace moebius::kernels
