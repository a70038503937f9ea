// Body of the kernels that go over values one by one, for table_body.h, with the vectors of
// rows_gemm_body.h.

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
static VecF exp_of(VecF x) {
  const VecF low = splat(-104.0f), high = splat(89.0f);
  const VecF bounded = x < low ? low : x > high ? high : x;
  const VecF shifted = bounded * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
  const VecF r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  VecF y = splat(1.98412698e-4f);
  y = y * r + 1.38888889e-3f;
  y = y * r + 8.33333333e-3f;
  y = y * r + 4.16666667e-2f;
  y = y * r + 1.66666667e-1f;
  y = y * r + 0.5f;
  y = y * (r * r) + r + 1.0f;
  // In two factors: 2^n alone may be beyond what a float holds.
  const VecI power = (VecI)shifted - 0x4B400000, half = power >> 1;
  const auto two_to = [](VecI p) { return (VecF)((p + 127) << 23); };
  return y * two_to(half) * two_to(power - half);
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

template <Activation KIND>
static VecF activated(VecF x) {
  switch (KIND) {
    case Activation::silu:
      return x * sigmoid_of(x);
    case Activation::gelu_tanh:  // (1 + tanh z) / 2 is the sigmoid of 2 z
      return x * sigmoid_of(1.59576912f * (x + 0.044715f * x * x * x));
    case Activation::gelu_erf:
      return 0.5f * x * (1.0f + erf_of(x * 0.707106781f));
    case Activation::relu:
      return x < 0.0f ? VecF{} : x;
  }
  return x;
}

template <Activation KIND>
static void activate_rows(const Activate& a) {
  for (long r = 0; r < a.m; ++r) {
    const float *gate = a.x + r * a.ldx, *up = gate + a.up;
    float* h = a.h + r * a.ldh;
    for (long c = 0; c < a.columns; c += LANES) {
      const VecF y = activated<KIND>(load_values(gate + c));
      store_values(h + c, a.up != 0 ? y * load_values(up + c) : y);
    }
  }
}

static void activate(const Activate& a) {
  switch (a.kind) {
    case Activation::silu:
      return activate_rows<Activation::silu>(a);
    case Activation::gelu_tanh:
      return activate_rows<Activation::gelu_tanh>(a);
    case Activation::gelu_erf:
      return activate_rows<Activation::gelu_erf>(a);
    case Activation::relu:
      return activate_rows<Activation::relu>(a);
  }
}

static void add_scaled(const AddScaled& a) {
  for (int r = 0; r < a.m; ++r) {
    const float* x = a.x + r * a.ldx;
    float* y = a.y + (a.ids != nullptr ? a.ids[r] : r) * a.ldy;
    const float scale = a.scales != nullptr ? a.scales[r] : 1.0f;
    long c = 0;
    for (; c + LANES <= a.columns; c += LANES) {
      store_values(y + c, load_values(y + c) + load_values(x + c) * scale);
    }
    for (; c < a.columns; ++c) y[c] += x[c] * scale;
  }
}

static float exp_of_one(float x) {
  return exp_of(splat(x))[0];
}

static void softmax_row(float* scores, long first, long last, long columns, float& max,
                        float& sum) {
  const float nothing = -__builtin_inff();
  max = nothing;
  sum = 0;
  if (first >= last) {
    for (long c = 0; c < columns; ++c) scores[c] = 0;
    return;
  }
  // Whole vectors around what is seen; none of the others.
  const long begin = first / LANES * LANES, end = (last + LANES - 1) / LANES * LANES;
  for (long c = 0; c < begin; ++c) scores[c] = 0;
  for (long c = begin; c < first; ++c) scores[c] = nothing;
  for (long c = last; c < end; ++c) scores[c] = nothing;
  for (long c = end; c < columns; ++c) scores[c] = 0;
  VecF most = splat(nothing);
  for (long c = begin; c < end; c += LANES) {
    const VecF v = load_values(scores + c);
    most = v > most ? v : most;
  }
  for (int i = 0; i < LANES; ++i) max = most[i] > max ? most[i] : max;
  VecF added = VecF{};
  for (long c = begin; c < end; c += LANES) {
    const VecF v = load_values(scores + c), e = exp_of(v - max);
    const VecF p = v == nothing ? VecF{} : e;
    added += p;
    store_values(scores + c, p);
  }
  sum = sum_of(added);
}

static void softmax(const Softmax& a) {
  for (long r = 0; r < a.m; ++r) {
    softmax_row(a.scores + r * a.ld, a.first[r], a.last[r], a.columns, a.max[r], a.sum[r]);
  }
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

/// Of the values less `mean`: the sum, or the sum of squares. In LANES parts, whatever the length.
template <bool SQUARES>
static float total_of(const float* x, long columns, float mean) {
  VecF sum = VecF{};
  long c = 0;
  for (; c + LANES <= columns; c += LANES) {
    const VecF v = load_values(x + c) - mean;
    sum += SQUARES ? v * v : v;
  }
  float total = sum_of(sum);
  for (; c < columns; ++c) total += SQUARES ? (x[c] - mean) * (x[c] - mean) : x[c] - mean;
  return total;
}

static float inverse_root(float x) {
  return 1.0f / __builtin_sqrtf(x);
}

static void norm(const Norm& a) {
  const float count = (float)a.columns;
  for (long r = 0; r < a.m; ++r) {
    const float* x = a.x + r * a.ldx;
    float* y = a.y + r * a.ldy;
    const float mean = a.centred ? total_of<false>(x, a.columns, 0) / count : 0;
    const float scale = inverse_root(total_of<true>(x, a.columns, mean) / count + a.eps);
    for (long c = 0; c < a.columns; ++c) {
      y[c] = (x[c] - mean) * scale * a.weight[c] + (a.bias != nullptr ? a.bias[c] : 0);
    }
  }
}

static void rotate(const Rotate& a) {
  for (long r = 0; r < a.m; ++r) {
    const float *cos = a.cos + r * a.half, *sin = a.sin + r * a.half;
    for (long h = 0; h < a.heads; ++h) {
      float* first = a.x + r * a.ldx + (h + 1) * a.dim - 2 * a.half;
      float* second = first + a.half;
      for (long i = 0; i < a.half; ++i) {
        const float u = first[i], v = second[i];
        first[i] = u * cos[i] - v * sin[i];
        second[i] = v * cos[i] + u * sin[i];
      }
    }
  }
}
