// Attention of one new token to a KV cache (flash decoding): a block processes a split of the cache
// for the query heads that read the same keys, tile by tile with an online softmax (Dao et al.
// 2022); another kernel merges the splits.
#include "kernels/cuda/device.h"

namespace moebius::kernels::cuda {
namespace {

constexpr std::int64_t tile_tokens = 64;
/// Neighbouring lanes that read one key, each a vector of its values.
constexpr unsigned lanes = 8;

/// Threads for the columns of a value; groups of them take different tokens.
struct Columns {
  unsigned width, shares;
};
__host__ __device__ inline Columns columns_of(std::int64_t value_dim) {
  const auto width = static_cast<unsigned>((value_dim + warp_size - 1) / warp_size * warp_size);
  return {width, width < 128 ? 128 / width : 1};
}

/// The shared memory of a block for HEADS heads.
template <int HEADS>
struct Room {
  float* q;       ///< [HEADS, key_dim], scaled
  float* scores;  ///< [HEADS, tile]
  float* max;     ///< [HEADS], running maximum
  float* sum;     ///< [HEADS]
  float* shrink;  ///< [HEADS]: rescales the result of the tiles before
  float* parts;   ///< [HEADS, threads]

  __host__ __device__ static std::size_t floats(std::int64_t key_dim, unsigned threads) {
    return HEADS * static_cast<std::size_t>(key_dim + tile_tokens + 3 + threads);
  }
  __device__ Room(float* memory, std::int64_t key_dim)
      : q(memory),
        scores(q + HEADS * key_dim),
        max(scores + HEADS * tile_tokens),
        sum(max + HEADS),
        shrink(sum + HEADS),
        parts(shrink + HEADS) {}
};

template <class T>
__global__ void append(DecodeAttention a) {
  using Stored = typename T::Stored;
  const KvTensors& s = a.sequences[blockIdx.x];
  const auto copy = [&](const void* from, void* to, std::int64_t dim) {
    const std::int64_t width = a.groups * dim;
    for (std::int64_t i = threadIdx.x; i < width; i += blockDim.x) {
      static_cast<Stored*>(to)[a.lengths[blockIdx.x] * width + i] =
          static_cast<const Stored*>(from)[blockIdx.x * width + i];
    }
  };
  copy(a.k, s.keys, a.key_dim);
  if (a.v != nullptr) copy(a.v, s.values, a.value_dim);
}

/// Scores of tokens [begin, end); -infinity for tokens beyond.
template <class T, int HEADS, int V>
__device__ void score(const DecodeAttention& a, const KvTensors& s, std::int64_t begin,
                      std::int64_t end, const Room<HEADS>& scratch) {
  using Stored = typename T::Stored;
  const unsigned lane = threadIdx.x % lanes;
  for (std::int64_t t = threadIdx.x / lanes; t < tile_tokens; t += blockDim.x / lanes) {
    float sums[HEADS] = {};
    const std::int64_t token = begin + t;
    const Stored* key = static_cast<const Stored*>(s.keys) +
                        ((token < end ? token : begin) * a.groups + blockIdx.y) * a.key_dim;
    for (std::int64_t i = lane * V; i < a.key_dim; i += lanes * V) {
      const auto pack = *reinterpret_cast<const Pack<T, V>*>(key + i);
      MOEBIUS_DEVICE_UNROLL
      for (int j = 0; j < V; ++j) {
        const float k = T::load(pack.values[j]);
        MOEBIUS_DEVICE_UNROLL
        for (int h = 0; h < HEADS; ++h) sums[h] += k * scratch.q[h * a.key_dim + i + j];
      }
    }
    MOEBIUS_DEVICE_UNROLL
    for (int h = 0; h < HEADS; ++h) {
      for (unsigned other = lanes / 2; other > 0; other /= 2) {
        sums[h] += __shfl_xor_sync(whole_warp, sums[h], other);
      }
      if (lane == 0) scratch.scores[h * tile_tokens + t] = token < end ? sums[h] : -INFINITY;
    }
  }
}

/// Scores become e^(score - max); a warp takes a head.
template <int HEADS>
__device__ void soften(const Room<HEADS>& scratch) {
  const unsigned warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  for (unsigned h = warp; h < HEADS; h += blockDim.x / warp_size) {
    float* scores = scratch.scores + h * tile_tokens;
    const float before = scratch.max[h];
    float max = before, sum = 0;
    for (std::int64_t t = lane; t < tile_tokens; t += warp_size) max = fmaxf(max, scores[t]);
    max = max_of_warp(max);
    for (std::int64_t t = lane; t < tile_tokens; t += warp_size) {
      const float share = scores[t] == -INFINITY ? 0 : expf(scores[t] - max);
      scores[t] = share;
      sum += share;
    }
    sum = sum_of_warp(sum);
    if (lane != 0) continue;
    const float shrink = before == -INFINITY ? 0 : expf(before - max);
    scratch.shrink[h] = shrink;
    scratch.sum[h] = scratch.sum[h] * shrink + sum;
    scratch.max[h] = max;
  }
}

/// Block (split, group, sequence), for HEADS query heads of the group at a time.
template <class T, int HEADS, int V>
__global__ void attend_split(DecodeAttention a) {
  using Stored = typename T::Stored;
  const Room<HEADS> scratch(shared_memory<float>(), a.key_dim);
  const KvTensors s = a.sequences[blockIdx.z];
  const std::int64_t length = a.lengths[blockIdx.z] + 1, share = a.heads / a.groups;
  const std::int64_t oldest = a.window > 0 && length > a.window ? length - a.window : 0;
  const std::int64_t seen = length - oldest;
  const std::int64_t tiles = (seen + tile_tokens - 1) / tile_tokens;
  const std::int64_t each = (tiles + a.splits - 1) / a.splits * tile_tokens;
  const std::int64_t first = oldest + blockIdx.x * each;
  const std::int64_t last = first + each < length ? first + each : length;
  const Columns columns = columns_of(a.value_dim);
  const unsigned column = threadIdx.x % columns.width, part = threadIdx.x / columns.width;
  for (std::int64_t begin_head = 0; begin_head < share; begin_head += HEADS) {
    const std::int64_t head = blockIdx.y * share + begin_head;
    const Stored* q = static_cast<const Stored*>(a.q) + (blockIdx.z * a.heads + head) * a.key_dim;
    __syncthreads();  // the scratch may still be read
    for (std::int64_t i = threadIdx.x; i < HEADS * a.key_dim; i += blockDim.x) {
      scratch.q[i] = begin_head + i / a.key_dim < share ? T::load(q[i]) * a.scale : 0;
    }
    if (threadIdx.x < HEADS) {
      scratch.max[threadIdx.x] = -INFINITY;
      scratch.sum[threadIdx.x] = 0;
    }
    float y[HEADS] = {};
    for (std::int64_t begin = first; begin < last; begin += tile_tokens) {
      const std::int64_t end = begin + tile_tokens < last ? begin + tile_tokens : last;
      __syncthreads();  // scores may still be read
      score<T, HEADS, V>(a, s, begin, end, scratch);
      __syncthreads();
      soften(scratch);
      __syncthreads();
      const Stored* value = static_cast<const Stored*>(s.values) +
                            (begin * a.groups + blockIdx.y) * a.value_apart + column;
      const bool there = column < a.value_dim;
      MOEBIUS_DEVICE_UNROLL
      for (int h = 0; h < HEADS; ++h) y[h] *= scratch.shrink[h];
      for (std::int64_t t = part; t < end - begin && there; t += columns.shares) {
        const float v = T::load(value[t * a.groups * a.value_apart]);
        MOEBIUS_DEVICE_UNROLL
        for (int h = 0; h < HEADS; ++h) y[h] += scratch.scores[h * tile_tokens + t] * v;
      }
    }
    MOEBIUS_DEVICE_UNROLL
    for (int h = 0; h < HEADS; ++h) scratch.parts[h * blockDim.x + threadIdx.x] = y[h];
    __syncthreads();
    if (part != 0) continue;
    for (int h = 0; h < HEADS && begin_head + h < share; ++h) {
      float* out = a.partial +
                   ((blockIdx.z * a.heads + head + h) * a.splits + blockIdx.x) * (a.value_dim + 2);
      float sum = 0;
      for (unsigned p = 0; p < columns.shares; ++p) {
        sum += scratch.parts[h * blockDim.x + p * columns.width + column];
      }
      if (column < a.value_dim) out[2 + column] = sum;
      if (column == 0) {
        out[0] = scratch.max[h];
        out[1] = scratch.sum[h];
      }
    }
  }
}

/// Block (head, sequence), a thread per column.
template <class T>
__global__ void merge_splits(DecodeAttention a) {
  const std::int64_t row = blockIdx.y * a.heads + blockIdx.x, width = a.value_dim + 2;
  const float* parts = a.partial + row * a.splits * width;
  float max = -INFINITY, sum = 0, y = 0;
  for (std::int64_t i = 0; i < a.splits; ++i) max = fmaxf(max, parts[i * width]);
  if (threadIdx.x >= a.value_dim) return;
  for (std::int64_t i = 0; i < a.splits; ++i) {
    const float* part = parts + i * width;
    if (part[0] == -INFINITY) continue;
    const float weight = expf(part[0] - max);
    sum += weight * part[1];
    y += weight * part[2 + threadIdx.x];
  }
  static_cast<typename T::Stored*>(a.y)[row * a.value_dim + threadIdx.x] = T::store(y / sum);
}

template <class T, int HEADS, int V>
Failure attend(const DecodeAttention& a, Stream stream) {
  const Columns columns = columns_of(a.value_dim);
  const unsigned threads = columns.width * columns.shares;
  const dim3 blocks(static_cast<unsigned>(a.splits), static_cast<unsigned>(a.groups),
                    static_cast<unsigned>(a.count));
  const std::size_t shared = Room<HEADS>::floats(a.key_dim, threads) * sizeof(float);
  return launch(attend_split<T, HEADS, V>, blocks, threads, shared, stream, a);
}

template <class T, int HEADS>
Failure attend_heads(const DecodeAttention& a, Stream stream) {
  constexpr int at_once = 16 / sizeof(typename T::Stored);
  if (a.key_dim % at_once == 0) return attend<T, HEADS, at_once>(a, stream);
  return attend<T, HEADS, 1>(a, stream);
}

}  // namespace

Failure decode_attention(const DecodeAttention& args, Stream stream) {
  const unsigned width = columns_of(args.value_dim).width;
  if (width > 1024) return "values of more than 1024 columns";
  return with_type(args.type, [&](auto type) -> Failure {
    using T = decltype(type);
    const auto count = static_cast<unsigned>(args.count);
    if (Failure failure = launch(append<T>, count, 256, 0, stream, args)) return failure;
    const std::int64_t share = args.heads / args.groups;
    const Failure failure = share == 1   ? attend_heads<T, 1>(args, stream)
                            : share == 2 ? attend_heads<T, 2>(args, stream)
                            : share <= 4 ? attend_heads<T, 4>(args, stream)
                                         : attend_heads<T, 8>(args, stream);
    if (failure != nullptr) return failure;
    const dim3 blocks(static_cast<unsigned>(args.heads), count);
    return launch(merge_splits<T>, blocks, width, 0, stream, args);
  });
}

}  // namespace moebius::kernels::cuda
