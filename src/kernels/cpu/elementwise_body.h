// Body of the elementwise and reduction kernels, for table_body.h, with the vectors of pack_body.h;
// the instruction set has defined sum_of(VecF), sqrt_of(VecF), times_two_to(y, n) = y 2^n for
// integral n from -150 to 128, at_least(low, x) and at_most(high, x), which keep NaN.

typedef int VecI __attribute__((vector_size(sizeof(VecF))));

static VecF load_values(const float* from) {
  return load_unaligned<sizeof(VecF), VecF>(from);
}
static void store_values(float* to, VecF v) {
  __builtin_memcpy(to, &v, sizeof v);
}
static VecF splat(float x) {
  return x - VecF{};
}

/// e^x to 2 ulp, 0 and infinity beyond the range; NaN stays NaN. 2^n e^r with r within ln(2)/2,
/// the latter by its series up to r^7.
[[gnu::always_inline]] static inline VecF exp_of(VecF x) {
  const VecF bounded = at_least(-104.0f, at_most(89.0f, x));
  const VecF shifted = bounded * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
  const VecF r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  VecF y = splat(1.98412698e-4f);
  y = y * r + 1.38888889e-3f;
  y = y * r + 8.33333333e-3f;
  y = y * r + 4.16666667e-2f;
  y = y * r + 1.66666667e-1f;
  y = y * r + 0.5f;
  return times_two_to(y * (r * r) + r + 1.0f, n);
}

static VecF sigmoid_of(VecF x) {
  return 1.0f / (1.0f + exp_of(-x));
}

/// erf by Abramowitz and Stegun 7.1.26, within 1.5e-7.
static VecF erf_of(VecF x) {
  const VecF size = x < 0.0f ? -x : x, t = 1.0f / (1.0f + 0.3275911f * size);
  VecF y = splat(1.061405429f);
  y = y * t - 1.453152027f;
  y = y * t + 1.421413741f;
  y = y * t - 0.284496736f;
  y = y * t + 0.254829592f;
  y = 1.0f - y * t * exp_of(-size * size);
  return x < 0.0f ? -y : y;
}

/// An activation and its derivative.
struct Activated {
  VecF value, slope;
};

template <Activation KIND>
static Activated activated(VecF x) {
  switch (KIND) {
    case Activation::silu: {
      const VecF s = sigmoid_of(x);
      return {x * s, s * (1.0f + x * (1.0f - s))};
    }
    case Activation::gelu_tanh: {  // (1 + tanh z) / 2 is the sigmoid of 2 z
      const VecF s = sigmoid_of(1.59576912f * (x + 0.044715f * x * x * x));
      return {x * s, s + x * s * (1.0f - s) * 1.59576912f * (1.0f + 0.134145f * x * x)};
    }
    case Activation::gelu_erf: {
      const VecF share = 0.5f * (1.0f + erf_of(x * 0.707106781f));
      return {x * share, share + x * exp_of(-0.5f * x * x) * 0.398942280f};
    }
    case Activation::relu:
      return {x < 0.0f ? VecF{} : x, x > 0.0f ? splat(1.0f) : VecF{}};
  }
  return {x, x};
}

template <Activation KIND>
static void activate_rows(const Activate& a) {
  for (long r = 0; r < a.m; ++r) {
    const float *gate = a.x + r * a.ldx, *up = gate + a.up;
    float* h = a.h + r * a.ldh;
    for (long c = 0; c < a.columns; c += LANES) {
      const VecF y = activated<KIND>(load_values(gate + c)).value;
      store_values(h + c, a.up != 0 ? y * load_values(up + c) : y);
    }
  }
}

/// Calls fn with the activation as a template argument.
template <class Fn>
static void with_activation(Activation kind, Fn fn) {
  switch (kind) {
    case Activation::silu:
      return fn.template operator()<Activation::silu>();
    case Activation::gelu_tanh:
      return fn.template operator()<Activation::gelu_tanh>();
    case Activation::gelu_erf:
      return fn.template operator()<Activation::gelu_erf>();
    case Activation::relu:
      return fn.template operator()<Activation::relu>();
  }
}

static void activate(const Activate& a) {
  with_activation(a.kind, [&]<Activation KIND>() { activate_rows<KIND>(a); });
}

/// Loads or stores a vector of a row, of which `left` values remain.
template <class Load>
static VecF load_row(const void* row, long c, long left) {
  const auto* at = static_cast<const typename Load::Type*>(row) + c;
  return left >= LANES ? Load::load(at) : Load::load(Padded<typename Load::Type>(at, left).values);
}
template <class Store>
static void store_row(void* row, long c, long left, VecF x) {
  auto* at = static_cast<typename Store::Type*>(row) + c;
  const typename Store::Vec v = Store::narrow(x);
  if (left >= LANES) {
    __builtin_memcpy(at, &v, sizeof v);
  } else {
    for (long i = 0; i < left; ++i) at[i] = v[i];
  }
}

template <class Store>
static void store_rows_as(const TileOutput& out, const float* sums, long m) {
  for (long r = 0; r < m; ++r, sums += 2 * panel_width) {
    const float scale = out.scales != nullptr ? out.scales[r] : 1;
    auto* row =
        static_cast<typename Store::Type*>(out.y) + (out.ids != nullptr ? out.ids[r] : r) * out.ldy;
    for (int panel = 0; panel < 2; ++panel) {
      auto* y = row + panel * panel_width;
      for (long c = 0; c < out.columns[panel]; c += LANES) {
        const long left = out.columns[panel] - c;
        VecF v = load_values(sums + panel * panel_width + c);
        if (out.bias[panel] != nullptr) v += load_row<LoadF32>(out.bias[panel], c, left);
        if (!out.add) {
          store_row<Store>(y, c, left, v * scale);
          continue;
        }
        VecF there = load_row<LoadF32>(y, c, left);
        if (out.keep != nullptr) there *= out.keep[r];
        store_row<Store>(y, c, left, v * scale + there);  // rounded once, wherever it is computed
      }
    }
  }
}

static void store_rows(const TileOutput& out, const float* sums, long m) {
  if (out.type == ValueType::f32) return store_rows_as<StoreF32>(out, sums, m);
  store_rows_as<StoreBf16>(out, sums, m);
}

template <class Store>
static void convert_rows(const Convert& a) {
  for (long r = 0; r < a.m; ++r) {
    auto* y = static_cast<typename Store::Type*>(a.y) + r * a.ldy;
    for (long c = 0; c < a.columns; c += LANES) {
      const long left = a.columns - c;
      store_row<Store>(y, c, left, load_row<LoadF32>(a.x + r * a.ldx, c, left) * a.scale);
    }
  }
}

static void convert(const Convert& a) {
  if (a.type == ValueType::f32) return convert_rows<StoreF32>(a);
  convert_rows<StoreBf16>(a);
}

static void add_rows(const AddRows& a) {
  for (long r = 0; r < a.m; ++r) {
    const float* x = a.x + r * a.ldx;
    float* y = a.y + a.ids[r] * a.ldy;
    const float scale = a.scales != nullptr ? a.scales[r] : 1;
    for (long c = 0; c < a.columns; c += LANES) {
      const long left = a.columns - c;
      const VecF sum = load_row<LoadF32>(x, c, left) * scale + load_row<LoadF32>(y, c, left);
      store_row<StoreF32>(y, c, left, sum);
    }
  }
}

template <Activation KIND, class Load, class Store>
static void activate_backward_rows(const ActivateBackward& a) {
  using T = typename Load::Type;
  const auto row_of = [](auto* base, long r, long ld) {
    return base == nullptr ? nullptr : base + r * ld;
  };
  for (long r = 0; r < a.m; ++r) {
    const auto* gate = row_of(static_cast<const T*>(a.gate), r, a.ldpre);
    const auto* up = row_of(static_cast<const T*>(a.up), r, a.ldpre);
    auto* dgate = row_of(static_cast<T*>(a.dgate), r, a.ldgrad);
    auto* dup = row_of(static_cast<T*>(a.dup), r, a.ldgrad);
    auto* out = row_of(static_cast<T*>(a.h), r, a.ldh);
    const float scale = a.scales[r];
    VecF dot = VecF{};
    for (long c = 0; c < a.columns; c += LANES) {
      const long left = a.columns - c;
      const VecF dh = load_row<LoadF32>(a.dh + r * a.lddh, c, left), scaled = dh * scale;
      const VecF u = load_row<Load>(up, c, left);
      VecF h;
      if (gate != nullptr) {
        const Activated g = activated<KIND>(load_row<Load>(gate, c, left));
        h = g.value * u;
        store_row<Store>(dgate, c, left, scaled * u * g.slope);
        store_row<Store>(dup, c, left, scaled * g.value);
      } else {
        const Activated y = activated<KIND>(u);
        h = y.value;
        store_row<Store>(dup, c, left, scaled * y.slope);
      }
      store_row<Store>(out, c, left, h * scale);
      dot += left >= LANES ? dh * h : VecF{};
      for (long i = 0; i < left && left < LANES; ++i) dot[0] += dh[i] * h[i];
    }
    a.dots[r] += sum_of(dot);
  }
}

static void activate_backward(const ActivateBackward& a) {
  with_activation(a.kind, [&]<Activation KIND>() {
    if (a.type == ValueType::f32) {
      activate_backward_rows<KIND, LoadF32, StoreF32>(a);
    } else {
      activate_backward_rows<KIND, LoadBf16, StoreBf16>(a);
    }
  });
}

static float exp_of_one(float x) {
  return exp_of(splat(x))[0];
}

template <int H, int... C>
static VecF rotate_lanes(VecF v, LaneNumbers<C...>) {
  return __builtin_shufflevector(v, v, ((C + H) % LANES)...);
}
template <int H = LANES / 2>
static float max_of(VecF v) {
  const VecF other = rotate_lanes<H>(v, typename CountLanes<LANES>::Type{});
  v = other > v ? other : v;
  if constexpr (H > 1) return max_of<H / 2>(v);
  return v[0];
}

static void softmax(const Softmax& a) {
  const float minus_infinity = -__builtin_inff();
  // Only whole vectors that hold a column in [first, last) are computed.
  const auto begin = [&](long r) { return a.first[r] / LANES * LANES; };
  const auto end = [&](long r) {
    return a.first[r] < a.last[r] ? (a.last[r] + LANES - 1) / LANES * LANES : begin(r);
  };
  float largest[max_tile_rows] = {};
  for (long r = 0; r < a.m; ++r) {
    float* scores = a.scores + r * a.ld;
    for (long c = 0; c < begin(r); ++c) scores[c] = 0;
    for (long c = end(r); c < a.columns; ++c) scores[c] = 0;
    VecF row_max = splat(a.max[r]);
    if (begin(r) < end(r)) {
      for (long c = begin(r); c < a.first[r]; ++c) scores[c] = minus_infinity;
      for (long c = a.last[r]; c < end(r); ++c) scores[c] = minus_infinity;
    }
    for (long c = begin(r); c < end(r); c += LANES) {
      const VecF v = load_values(scores + c) * a.scale;
      row_max = v > row_max ? v : row_max;
    }
    largest[r] = max_of(row_max);
  }
  for (long r = 0; r < a.m; r += LANES) {
    const VecF before = load_values(a.max + r), now = load_values(largest + r);
    const VecF keep = before == now ? splat(1) : exp_of(before - now);
    store_values(a.max + r, now);
    store_values(a.sum + r, load_values(a.sum + r) * keep);
    if (a.keep != nullptr) store_values(a.keep + r, keep);
  }
  for (long r = 0; r < a.m; ++r) {
    float* scores = a.scores + r * a.ld;
    VecF added = VecF{};
    for (long c = begin(r); c < end(r); c += LANES) {
      const VecF v = load_values(scores + c) * a.scale, e = exp_of(v - largest[r]);
      const VecF p = v == minus_infinity ? VecF{} : e;
      added += p;
      store_values(scores + c, p);
    }
    a.sum[r] += sum_of(added);
  }
}

template <class Store>
static void softmax_backward_rows(const SoftmaxBackward& a) {
  VecI numbers;
  for (int i = 0; i < LANES; ++i) numbers[i] = i;
  for (long r = 0; r < a.m; ++r) {
    const float *scores = a.scores + r * a.ld, *dprobabilities = a.dprobabilities + r * a.ld;
    const float log_sum = a.log_sums[r];
    auto* probabilities = static_cast<typename Store::Type*>(a.probabilities) + r * a.ld;
    auto* dscores = static_cast<typename Store::Type*>(a.dscores) + r * a.ld;
    const long begin = a.first[r] / LANES * LANES;
    const long end = (a.last[r] + LANES - 1) / LANES * LANES;
    const auto probability = [&](long c) {
      const VecI at = numbers + (int)c;
      const VecF p = exp_of(load_values(scores + c) * a.scale - log_sum);
      return ((at >= a.first[r]) & (at < a.last[r])) ? p : VecF{};
    };
    VecF sum = VecF{};
    for (long c = begin; c < end; c += LANES) {
      const VecF p = probability(c);
      sum += p == 0.0f ? VecF{} : p * load_values(dprobabilities + c);
    }
    const float mean = sum_of(sum);
    for (long c = 0; c < a.columns; c += LANES) {
      VecF p = VecF{}, d = VecF{};
      if (c >= begin && c < end) {
        p = probability(c);
        d = p == 0.0f ? VecF{} : p * (load_values(dprobabilities + c) - mean) * a.scale;
      }
      store_row<Store>(probabilities, c, LANES, p);
      store_row<Store>(dscores, c, LANES, d);
    }
  }
}

static void softmax_backward(const SoftmaxBackward& a) {
  if (a.type == ValueType::f32) return softmax_backward_rows<StoreF32>(a);
  softmax_backward_rows<StoreBf16>(a);
}

static void merge_softmax(const MergeSoftmax& a) {
  for (long r = 0; r < a.m; ++r) {
    if (a.part_sum[r] == 0) continue;
    const float max = a.part_max[r] > a.max[r] ? a.part_max[r] : a.max[r];
    const float old = exp_of_one(a.max[r] - max), fresh = exp_of_one(a.part_max[r] - max);
    const float* x = a.part_y + r * a.columns;
    float* y = a.y + r * a.columns;
    for (long c = 0; c < a.columns; c += LANES) {
      store_values(y + c, load_values(y + c) * old + load_values(x + c) * fresh);
    }
    a.sum[r] = a.sum[r] * old + a.part_sum[r] * fresh;
    a.max[r] = max;
  }
}

/// The sum, or the sum of squares, of the values minus `mean`, with LANES accumulators.
template <class Load, bool SQUARES>
static float total_of(const void* x, long columns, float mean) {
  VecF sum = VecF{};
  long c = 0;
  for (; c + LANES <= columns; c += LANES) {
    const VecF v = load_row<Load>(x, c, LANES) - mean;
    sum += SQUARES ? v * v : v;
  }
  float total = sum_of(sum);
  const VecF rest = load_row<Load>(x, c, columns - c) - mean;
  for (int i = 0; c + i < columns; ++i) total += SQUARES ? rest[i] * rest[i] : rest[i];
  return total;
}

static float inverse_root(float x) {
  return 1.0f / __builtin_sqrtf(x);
}

/// A row is normalised as (x - mean) scale.
struct NormStatistics {
  float mean, scale;
};
template <class Load>
static NormStatistics norm_statistics(const void* x, long columns, float eps, bool centred) {
  const float count = (float)columns;
  const float mean = centred ? total_of<Load, false>(x, columns, 0) / count : 0;
  return {mean, inverse_root(total_of<Load, true>(x, columns, mean) / count + eps)};
}

template <class Load, class Store>
static void norm_rows(const Norm& a) {
  for (long r = 0; r < a.m; ++r) {
    const auto* x = static_cast<const typename Load::Type*>(a.x) + r * a.ldx;
    auto* y = static_cast<typename Store::Type*>(a.y) + r * a.ldy;
    const NormStatistics s = norm_statistics<Load>(x, a.columns, a.eps, a.centred);
    for (long c = 0; c < a.columns; c += LANES) {
      const long left = a.columns - c;
      VecF v =
          (load_row<Load>(x, c, left) - s.mean) * s.scale * load_row<LoadF32>(a.weight, c, left);
      if (a.bias != nullptr) v += load_row<LoadF32>(a.bias, c, left);
      store_row<Store>(y, c, left, v);
    }
  }
}

static void norm(const Norm& a) {
  if (a.type == ValueType::f32) return norm_rows<LoadF32, StoreF32>(a);
  norm_rows<LoadBf16, StoreBf16>(a);
}

/// With z = (x - mean) scale and g = dy weight: dx = (g - [centred] mean(g) - z mean(g z)) scale.
template <class Load, class Store>
static void norm_backward_rows(const NormBackward& a) {
  using T = typename Load::Type;
  const auto add_to = [](float* sums, long c, long left, VecF v) {
    store_row<StoreF32>(sums, c, left, load_row<LoadF32>(sums, c, left) + v);
  };
  for (long r = 0; r < a.m; ++r) {
    const T* x = static_cast<const T*>(a.x) + r * a.columns;
    const T* dy = static_cast<const T*>(a.dy) + r * a.columns;
    auto* dx = static_cast<T*>(a.dx) + r * a.columns;
    const NormStatistics s = norm_statistics<Load>(x, a.columns, a.eps, a.centred);
    VecF sum_g = VecF{}, sum_gz = VecF{};
    for (long c = 0; c < a.columns; c += LANES) {
      const long left = a.columns - c;  // beyond it dy is 0
      const VecF z = (load_row<Load>(x, c, left) - s.mean) * s.scale;
      const VecF d = load_row<Load>(dy, c, left), g = d * load_row<LoadF32>(a.weight, c, left);
      sum_g += g;
      sum_gz += g * z;
      add_to(a.dweight, c, left, d * z);
      if (a.dbias != nullptr) add_to(a.dbias, c, left, d);
    }
    const float count = (float)a.columns;
    const float mean_g = a.centred ? sum_of(sum_g) / count : 0, mean_gz = sum_of(sum_gz) / count;
    for (long c = 0; c < a.columns; c += LANES) {
      const long left = a.columns - c;
      const VecF z = (load_row<Load>(x, c, left) - s.mean) * s.scale;
      const VecF g = load_row<Load>(dy, c, left) * load_row<LoadF32>(a.weight, c, left);
      store_row<Store>(dx, c, left, (g - mean_g - z * mean_gz) * s.scale);
    }
  }
}

static void norm_backward(const NormBackward& a) {
  if (a.type == ValueType::f32) return norm_backward_rows<LoadF32, StoreF32>(a);
  norm_backward_rows<LoadBf16, StoreBf16>(a);
}

template <class Load, class Store>
static void rotate_rows(const Rotate& a) {
  using T = typename Load::Type;
  const long stays = a.dim - 2 * a.half;
  const bool from_pairs = a.interleaved && !a.inverse, to_pairs = a.interleaved && a.inverse;
  for (long r = 0; r < a.m; ++r) {
    const float *cos = a.cos + r * a.half, *sin = a.sin + r * a.half;
    for (long h = 0; h < a.heads; ++h) {
      const T* x = static_cast<const T*>(a.x) + r * a.ldx + h * a.dim;
      T* y = static_cast<T*>(a.y) + r * a.ldy + h * a.dim;
      for (long i = 0; i < stays && x != y; ++i) y[i] = x[i];
      x += stays;
      y += stays;
      // Interleaved pairs are gathered here from x, or with `inverse` scattered from here to y.
      T pairs[2][LANES];
      for (long i = 0; i < a.half; i += LANES) {
        const long left = a.half - i, count = left < LANES ? left : LANES;
        const T *first = x + i, *second = x + a.half + i;
        if (from_pairs) {
          for (long j = 0; j < count; ++j) {
            pairs[0][j] = x[2 * (i + j)];
            pairs[1][j] = x[2 * (i + j) + 1];
          }
          first = pairs[0];
          second = pairs[1];
        }
        const VecF u = load_row<Load>(first, 0, left), v = load_row<Load>(second, 0, left);
        const VecF c = load_row<LoadF32>(cos, i, left);
        const VecF s =
            a.inverse ? -load_row<LoadF32>(sin, i, left) : load_row<LoadF32>(sin, i, left);
        T* to_first = to_pairs ? pairs[0] : y + i;
        T* to_second = to_pairs ? pairs[1] : y + a.half + i;
        store_row<Store>(to_first, 0, left, u * c - v * s);
        store_row<Store>(to_second, 0, left, v * c + u * s);
        for (long j = 0; j < count && to_pairs; ++j) {
          y[2 * (i + j)] = pairs[0][j];
          y[2 * (i + j) + 1] = pairs[1][j];
        }
      }
    }
  }
}

static void rotate(const Rotate& a) {
  if (a.type == ValueType::f32) return rotate_rows<LoadF32, StoreF32>(a);
  rotate_rows<LoadBf16, StoreBf16>(a);
}

template <class Load>
static void sum_exp_rows(const SumExp& a) {
  for (long r = 0; r < a.m; ++r) {
    const auto* scores = static_cast<const typename Load::Type*>(a.scores) + r * a.ld;
    VecF row_max = splat(-__builtin_inff()), sum = VecF{};
    const long whole = a.columns / LANES * LANES, rest = a.columns - whole;
    const VecF last = load_row<Load>(scores, whole, rest) * a.scale;
    for (long c = 0; c < whole; c += LANES) {
      const VecF v = load_row<Load>(scores, c, LANES) * a.scale;
      row_max = v > row_max ? v : row_max;
    }
    float max = row_max[0];
    for (int i = 0; i < LANES; ++i) max = row_max[i] > max ? row_max[i] : max;
    for (int i = 0; i < rest; ++i) max = last[i] > max ? last[i] : max;
    for (long c = 0; c < whole; c += LANES) {
      sum += exp_of(load_row<Load>(scores, c, LANES) * a.scale - max);
    }
    const VecF ends = exp_of(last - max);
    for (int i = 0; i < rest; ++i) sum[i] += ends[i];
    a.max[r] = max;
    a.sum[r] = sum_of(sum);
  }
}

static void sum_exp(const SumExp& a) {
  if (a.type == ValueType::f32) return sum_exp_rows<LoadF32>(a);
  sum_exp_rows<LoadBf16>(a);
}

template <class Load, class Store>
static void cross_entropy_backward_rows(const CrossEntropyBackward& a) {
  using T = typename Load::Type;
  for (long r = 0; r < a.m; ++r) {
    const T* scores = static_cast<const T*>(a.scores) + r * a.ld;
    T* dscores = static_cast<T*>(a.dscores) + r * a.ld;
    const float log_sum = a.log_sums[r];
    const auto probability = [&](long c, long left) {
      return exp_of(load_row<Load>(scores, c, left) * a.scale - log_sum);
    };
    const long target = a.targets[r], block = target / LANES * LANES;
    VecF there = probability(block, a.columns - block);
    there[target - block] -= 1.0f;
    for (long c = 0; c < a.columns; c += LANES) {
      const long left = a.columns - c;
      store_row<Store>(dscores, c, left, (c == block ? there : probability(c, left)) * a.factor);
    }
  }
}

static void cross_entropy_backward(const CrossEntropyBackward& a) {
  if (a.type == ValueType::f32) return cross_entropy_backward_rows<LoadF32, StoreF32>(a);
  cross_entropy_backward_rows<LoadBf16, StoreBf16>(a);
}

template <class Load, class Store, class LoadMean, class StoreMean>
static void adamw_values(const AdamWStep& a) {
  // Divisions by the bias corrections as multiplications.
  const float first = a.rate / a.bias1, second = 1.0f / a.bias2, kept = 1.0f - a.rate * a.decay;
  for (long i = 0; i < a.count; i += LANES) {
    const long left = a.count - i;
    const VecF g = load_row<Load>(a.gradient, i, left) * a.scale;
    const VecF w = a.master != nullptr ? load_row<LoadF32>(a.master, i, left)
                                       : load_row<Load>(a.value, i, left);
    const VecF m = a.beta1 * load_row<LoadMean>(a.m, i, left) + (1.0f - a.beta1) * g;
    const VecF v = a.beta2 * load_row<LoadMean>(a.v, i, left) + (1.0f - a.beta2) * g * g;
    const VecF updated = w * kept - first * m / (sqrt_of(v * second) + a.eps);
    store_row<StoreMean>(a.m, i, left, m);
    store_row<StoreMean>(a.v, i, left, v);
    store_row<Store>(a.value, i, left, updated);
    if (a.master != nullptr) store_row<StoreF32>(a.master, i, left, updated);
  }
}

static void adamw(const AdamWStep& a) {
  if (a.type == ValueType::f32) return adamw_values<LoadF32, StoreF32, LoadF32, StoreF32>(a);
  if (a.means == ValueType::f32) return adamw_values<LoadBf16, StoreBf16, LoadF32, StoreF32>(a);
  adamw_values<LoadBf16, StoreBf16, LoadBf16, StoreBf16>(a);
}

template <class Load>
static double squares_of(const void* values, long count) {
  constexpr long block = 64 * LANES;  // f32 accumulators within a block, double across blocks
  double sum = 0;
  for (long begin = 0; begin < count; begin += block) {
    const long end = begin + block < count ? begin + block : count;
    VecF part = VecF{};
    for (long i = begin; i < end; i += LANES) {
      const VecF v = load_row<Load>(values, i, end - i);
      part += v * v;
    }
    sum += sum_of(part);
  }
  return sum;
}

static double sum_of_squares(const void* values, ValueType type, std::int64_t count) {
  return type == ValueType::f32 ? squares_of<LoadF32>(values, count)
                                : squares_of<LoadBf16>(values, count);
}
