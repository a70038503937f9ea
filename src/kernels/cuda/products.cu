// Products of few rows with matrices (GEMV), bound by memory bandwidth: every byte of a matrix is
// read once, in loads of 16 bytes.
#include "kernels/cuda/device.h"

namespace moebius::kernels::cuda {
namespace {

constexpr unsigned warps = 4, threads = warps * warp_size;
constexpr int max_rows = 8;

/// 16 bytes.
struct alignas(16) Words {
  unsigned word[4];
};

/// The rows of the block blockIdx.y, and their matrix; none if another block has its expert.
struct Task {
  std::int64_t expert = 0, first = 0, last = 0;

  __device__ explicit Task(const ProductRows& rows) {
    if (rows.offsets == nullptr) {
      last = rows.count;
      return;
    }
    const std::int64_t row = blockIdx.y;
    std::int64_t beyond = rows.experts;  // offsets[expert] <= row < offsets[beyond]
    while (beyond - expert > 1) {
      const std::int64_t middle = (expert + beyond) / 2;
      (rows.offsets[middle] <= row ? expert : beyond) = middle;
    }
    if (rows.offsets[expert] != row) return;
    first = row;
    last = rows.offsets[expert + 1];
  }
};
__device__ std::int64_t source_of(const ProductRows& rows, std::int64_t row) {
  return rows.ids == nullptr ? row : rows.ids[row];
}

/// Stores element [row, n] of y.
template <class T>
__device__ void store_sum(const ProductEnd& to, std::int64_t expert, std::int64_t width,
                          std::int64_t row, std::int64_t n, float sum) {
  using Stored = typename T::Stored;
  const std::int64_t at = row * to.ldy + n;
  if (to.bias != nullptr) {
    sum += T::load(static_cast<const Stored*>(to.bias)[expert * width + n]);
  }
  if (to.residual != nullptr) {
    sum = T::load(static_cast<const Stored*>(to.residual)[at]) + to.multiplier * sum;
  }
  static_cast<Stored*>(to.y)[at] = T::store(sum);
}

/// A warp per row of w, with loads of V values: 16 bytes, or one value.
template <class T, int ROWS, int V>
__global__ void multiply_plain(PlainProduct a) {
  using Stored = typename T::Stored;
  const std::int64_t n = std::int64_t{blockIdx.x} * warps + threadIdx.x / warp_size;
  const unsigned lane = threadIdx.x % warp_size;
  const Task task(a.rows);
  if (n >= a.n) return;
  const auto* w = static_cast<const Stored*>(a.w) + (task.expert * a.n + n) * a.k;
  for (std::int64_t begin = task.first; begin < task.last; begin += ROWS) {
    const Stored* x[ROWS];
    float sums[ROWS] = {};
    MOEBIUS_DEVICE_UNROLL
    for (int m = 0; m < ROWS; ++m) {
      const std::int64_t row = begin + m < task.last ? begin + m : begin;
      x[m] = static_cast<const Stored*>(a.x) + source_of(a.rows, row) * a.ldx;
    }
    for (std::int64_t k = std::int64_t{lane} * V; k < a.k; k += warp_size * V) {
      const auto part = *reinterpret_cast<const Pack<T, V>*>(w + k);
      MOEBIUS_DEVICE_UNROLL
      for (int m = 0; m < ROWS; ++m) {
        const auto other = *reinterpret_cast<const Pack<T, V>*>(x[m] + k);
        MOEBIUS_DEVICE_UNROLL
        for (int j = 0; j < V; ++j) sums[m] += T::load(part.values[j]) * T::load(other.values[j]);
      }
    }
    MOEBIUS_DEVICE_UNROLL
    for (int m = 0; m < ROWS; ++m) {
      const float sum = sum_of_warp(sums[m]);
      if (lane == 0 && begin + m < task.last) {
        store_sum<T>(a.end, task.expert, a.n, begin + m, n, sum);
      }
    }
  }
}

/// A warp per group of a row that shares a scale.
template <class T>
__global__ void quantise_rows(QuantiseRows a) {
  const PackedShape& s = a.shape;
  const std::int64_t group = std::int64_t{blockIdx.x} * warps + threadIdx.x / warp_size;
  const unsigned lane = threadIdx.x % warp_size;
  if (group >= a.rows * s.x_groups()) return;
  const std::int64_t row = group / s.x_groups(), begin = group % s.x_groups() * s.x_group();
  const std::int64_t left = s.padded_k() - begin;
  const std::int64_t count = left < s.x_group() ? left : s.x_group();
  const auto* x = static_cast<const typename T::Stored*>(a.x) + row * a.ldx;
  const auto value = [&](std::int64_t i) { return begin + i < s.k ? T::load(x[begin + i]) : 0; };
  float largest = 0, broken = 0;
  for (std::int64_t i = lane; i < count; i += warp_size) {
    const float size = fabsf(value(i));
    if (!(size < INFINITY)) broken = 1;
    largest = fmaxf(largest, size);
  }
  largest = max_of_warp(largest);
  const bool finite = max_of_warp(broken) == 0;
  const float inverse = finite && largest >= 1e-30f ? 127 / largest : 0;
  for (std::int64_t i = lane; i < count; i += warp_size) {
    const float rounded = fmaf(finite ? value(i) : 0, inverse, 12582912.0f);
    a.codes[row * s.padded_k() + begin + i] =
        static_cast<std::int8_t>(static_cast<int>(__float_as_uint(rounded)) - 0x4B400000);
  }
  if (lane == 0) a.scales[group] = finite ? largest / 127 : __uint_as_float(0x7FC00000);
}

/// Converts 64 bytes of a panel, 4 columns of 16 rows or 8 of int4, to signed bytes.
struct Int8Columns {
  static constexpr int words = 1;   ///< of x
  static constexpr float unit = 1;  ///< of the weights
  static __device__ unsigned part(unsigned w, int) { return w ^ 0x80808080u; }
};
struct Int4Columns {
  static constexpr int words = 2;
  static constexpr float unit = 1.0f / 16;
  static __device__ unsigned part(unsigned w, int half) {
    return ((half == 0 ? w << 4 : w) & 0xF0F0F0F0u) ^ 0x80808080u;
  }
};

/// A block per panel: neighbouring lanes hold four of its 16 rows, its warps different columns.
template <class T, class Columns, int ROWS>
__global__ void multiply_packed(PackedProduct a) {
  constexpr std::int64_t columns = 4 * Columns::words;
  const PackedShape& s = a.shape;
  const unsigned warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const unsigned quad = lane % 4;
  const std::int64_t padded = s.padded_k(), steps = padded / columns, x_groups = s.x_groups();
  const Task task(a.rows);
  const auto* w = static_cast<const unsigned char*>(a.w) + task.expert * s.bytes() +
                  blockIdx.x * s.panel_bytes();
  auto* scratch = shared_memory<float>();  // [warps, ROWS, 16]
  for (std::int64_t begin = task.first; begin < task.last; begin += ROWS) {
    const std::int8_t* x[ROWS];
    const float* x_scales[ROWS];
    float sums[ROWS][4] = {};
    MOEBIUS_DEVICE_UNROLL
    for (int m = 0; m < ROWS; ++m) {
      const std::int64_t row = source_of(a.rows, begin + m < task.last ? begin + m : begin);
      x[m] = a.codes + row * padded;
      x_scales[m] = a.scales + row * x_groups;
    }
    for (std::int64_t step = threadIdx.x / 4; step < steps; step += threads / 4) {
      const std::int64_t k = step * columns;
      const Words bytes =
          *reinterpret_cast<const Words*>(w + s.scales_before(k) + step * 64 + 16 * quad);
      const auto* of_group =
          reinterpret_cast<const std::uint16_t*>(w + s.scales_at(k / s.group)) + 4 * quad;
      float scales[4];
      MOEBIUS_DEVICE_UNROLL
      for (int j = 0; j < 4; ++j) scales[j] = Bf16::load(of_group[j]) * Columns::unit;
      MOEBIUS_DEVICE_UNROLL
      for (int m = 0; m < ROWS; ++m) {
        int dots[4] = {};
        MOEBIUS_DEVICE_UNROLL
        for (int half = 0; half < Columns::words; ++half) {
          const int xs = *reinterpret_cast<const int*>(x[m] + k + 4 * half);
          MOEBIUS_DEVICE_UNROLL
          for (int j = 0; j < 4; ++j) {
            dots[j] = __dp4a(static_cast<int>(Columns::part(bytes.word[j], half)), xs, dots[j]);
          }
        }
        const float scale = x_scales[m][k / s.x_group()];
        MOEBIUS_DEVICE_UNROLL
        for (int j = 0; j < 4; ++j) {
          sums[m][j] += static_cast<float>(dots[j]) * (scales[j] * scale);
        }
      }
    }
    __syncthreads();  // the scratch may still be read
    MOEBIUS_DEVICE_UNROLL
    for (int m = 0; m < ROWS; ++m) {
      MOEBIUS_DEVICE_UNROLL
      for (int j = 0; j < 4; ++j) {
        float sum = sums[m][j];
        for (unsigned other = 4; other < warp_size; other *= 2) {
          sum += __shfl_xor_sync(whole_warp, sum, other);
        }
        if (lane < 4) scratch[(warp * ROWS + m) * panel_width + 4 * quad + j] = sum;
      }
    }
    __syncthreads();
    for (std::int64_t i = threadIdx.x; i < ROWS * panel_width; i += threads) {
      const std::int64_t row = begin + i / panel_width,
                         n = blockIdx.x * panel_width + i % panel_width;
      if (row >= task.last || n >= s.n) continue;
      float sum = 0;
      for (unsigned from = 0; from < warps; ++from) sum += scratch[from * ROWS * panel_width + i];
      store_sum<T>(a.end, task.expert, s.n, row, n, sum);
    }
  }
}

/// A thread per value.
template <class T>
__global__ void unpack_matrices(UnpackMatrices a) {
  const PackedShape& s = a.shape;
  const std::int64_t i = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i >= a.count * s.n * s.k) return;
  const std::int64_t k = i % s.k, n = i / s.k % s.n, matrix = i / s.k / s.n;
  const std::int64_t panel = n / panel_width, row = n % panel_width;
  const auto* bytes =
      static_cast<const unsigned char*>(a.packed) + matrix * s.bytes() + panel * s.panel_bytes();
  const float scale =
      Bf16::load(reinterpret_cast<const std::uint16_t*>(bytes + s.scales_at(k / s.group))[row]);
  bytes += s.scales_before(k);
  int code;
  if (s.type == PackedType::int8) {
    code = bytes[(k / 4 * panel_width + row) * 4 + k % 4] - 128;
  } else {
    const int both = bytes[(k / 8 * panel_width + row) * 4 + k % 4];
    code = (k % 8 < 4 ? both & 15 : both >> 4) - 8;
  }
  static_cast<typename T::Stored*>(a.w)[i] = T::store(static_cast<float>(code) * scale);
}

/// Calls fn with the number of rows that are computed at once, as a type.
template <int ROWS>
struct AtOnce {
  static constexpr int rows = ROWS;
};
template <class Fn>
Failure with_rows(std::int64_t rows, Fn fn) {
  if (rows <= 1) return fn(AtOnce<1>{});
  if (rows <= 2) return fn(AtOnce<2>{});
  if (rows <= 4) return fn(AtOnce<4>{});
  return fn(AtOnce<max_rows>{});
}

/// Whether rows of that stride can be read in loads of 16 bytes.
bool by_16(const void* from, std::int64_t stride, std::int64_t values) {
  return reinterpret_cast<std::uintptr_t>(from) % 16 == 0 && stride % values == 0;
}

/// Blocks for every row that could be the first of its expert.
unsigned tasks_of(const ProductRows& rows) {
  if (rows.count == 0) return 0;
  return rows.offsets == nullptr ? 1 : static_cast<unsigned>(rows.count);
}

}  // namespace

Failure multiply(const PlainProduct& args, Stream stream) {
  const dim3 blocks(blocks_for(args.n, warps), tasks_of(args.rows));
  return with_type(args.type, [&](auto type) {
    return with_rows(args.rows.max_rows, [&](auto at_once) {
      using T = decltype(type);
      constexpr int values = 16 / sizeof(typename T::Stored), rows = decltype(at_once)::rows;
      if (by_16(args.w, args.k, values) && by_16(args.x, args.ldx, values)) {
        return launch(multiply_plain<T, rows, values>, blocks, threads, 0, stream, args);
      }
      return launch(multiply_plain<T, rows, 1>, blocks, threads, 0, stream, args);
    });
  });
}

Failure quantise(const QuantiseRows& args, Stream stream) {
  return with_type(args.type, [&](auto type) {
    return launch(quantise_rows<decltype(type)>,
                  blocks_for(args.rows * args.shape.x_groups(), warps), threads, 0, stream, args);
  });
}

Failure multiply(const PackedProduct& args, Stream stream) {
  if (!args.shape.quantised()) return "a packed matrix that is neither int8 nor int4";
  const dim3 blocks(blocks_for(args.shape.n, panel_width), tasks_of(args.rows));
  return with_type(args.type, [&](auto type) {
    return with_rows(args.rows.max_rows, [&](auto at_once) {
      using T = decltype(type);
      constexpr int rows = decltype(at_once)::rows;
      constexpr std::size_t shared = warps * rows * panel_width * sizeof(float);
      if (args.shape.type == PackedType::int8) {
        return launch(multiply_packed<T, Int8Columns, rows>, blocks, threads, shared, stream, args);
      }
      return launch(multiply_packed<T, Int4Columns, rows>, blocks, threads, shared, stream, args);
    });
  });
}

Failure unpack(const UnpackMatrices& args, Stream stream) {
  if (!args.shape.quantised()) return "a packed matrix that is neither int8 nor int4";
  return with_type(args.type, [&](auto type) {
    return launch(unpack_matrices<decltype(type)>,
                  blocks_for(args.count * args.shape.n * args.shape.k, threads), threads, 0, stream,
                  args);
  });
}

}  // namespace moebius::kernels::cuda
