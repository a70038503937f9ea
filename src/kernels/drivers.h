// What the layers of a decoder are made of, on packed weights: the drivers cut work into pieces for
// an executor and call the tiles of a kernel table. Activations are f32 throughout; a row's result
// depends neither on the rows beside it nor on the number of threads.
#pragma once

#include <cstddef>
#include <span>

#include "base/arena.h"
#include "base/executor.h"
#include "kernels/kernels.h"

namespace moebius::kernels {

/// A packed matrix w [N, K] in memory; empty without data.
struct PackedMatrix {
  PackedShape shape;
  const std::byte* data = nullptr;
  const std::uint16_t* scales = nullptr;
};

/// What drivers work with.
struct CpuContext {
  const KernelTable& table;
  Executor& executor;
  Arena& arena;
};

/// Calls work(piece, thread) for each of `count` pieces that go over so many values, on all threads
/// if that is worth to wake them.
template <class Work>
void run_pieces(const CpuContext& cpu, std::int64_t values, std::int64_t count, Work work) {
  constexpr std::int64_t little = 1 << 14;
  if (values > little) return cpu.executor.run(count, work);
  for (std::int64_t piece = 0; piece < count; ++piece) work(piece, 0);
}

/// y [M, N] = x [M, K] times w transposed, plus bias [N] where there is one; or that times `scale`
/// is added to y.
struct Product {
  PackedMatrix w;
  const float* bias = nullptr;
  float* y = nullptr;
  std::int64_t ldy = 0;
  bool add = false;
  float scale = 1.0f;
};
/// Several products of the same x; their matrices have one K, type and group.
void linear(const CpuContext& cpu, const float* x, std::int64_t ldx, std::int64_t m,
            std::span<const Product> products);

/// One FFN, down(act(gate x) * up x) or, without gate, down(act(up x)), and its rows [begin, end)
/// among the sorted ones.
struct FfnJob {
  PackedMatrix gate, up, down;
  const float *gate_bias = nullptr, *up_bias = nullptr, *down_bias = nullptr;
  std::int64_t begin = 0, end = 0;
};

/// Adds to y [T, D] for each sorted row n: scales[n] times the FFN of its job of x[rows[n]], at
/// y[rows[n]]. No two rows of a job are the same. Jobs without rows cost nothing; the weights of a
/// job are read once however many rows it has.
struct GroupedFfn {
  std::span<const FfnJob> jobs;
  const std::int32_t* rows = nullptr;
  const float* scales = nullptr;
  const float* x = nullptr;
  float* y = nullptr;
  std::int64_t tokens = 0, ldx = 0, ldy = 0;
  Activation activation = Activation::silu;
};
void grouped_ffn(const CpuContext& cpu, const GroupedFfn& args);

}  // namespace moebius::kernels
