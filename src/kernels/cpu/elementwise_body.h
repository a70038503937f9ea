// Body of the kernels that go over values one by one; included as rows_gemm_body.h is, after it.

typedef int VecI __attribute__((vector_size(sizeof(VecF))));

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

template <ActivationKind KIND>
static VecF activated(VecF x) {
  switch (KIND) {
    case ActivationKind::silu:
      return x * sigmoid_of(x);
    case ActivationKind::gelu_tanh:  // (1 + tanh z) / 2 is the sigmoid of 2 z
      return x * sigmoid_of(1.59576912f * (x + 0.044715f * x * x * x));
    case ActivationKind::gelu_erf:
      return 0.5f * x * (1.0f + erf_of(x * 0.707106781f));
    case ActivationKind::relu:
      return x < 0.0f ? VecF{} : x;
  }
  return x;
}

template <ActivationKind KIND>
static void activate_rows(const Activate& a) {
  for (long r = 0; r < a.m; ++r) {
    const float *gate = a.x + r * a.ldx, *up = gate + a.up;
    float* h = a.h + r * a.ldh;
    for (long c = 0; c < a.columns; c += LANES) {
      VecF y = activated<KIND>(load_unaligned<sizeof(VecF), VecF>(gate + c));
      if (a.up != 0) y *= load_unaligned<sizeof(VecF), VecF>(up + c);
      __builtin_memcpy(h + c, &y, sizeof y);
    }
  }
}

static void activate(const Activate& a) {
  switch (a.kind) {
    case ActivationKind::silu:
      return activate_rows<ActivationKind::silu>(a);
    case ActivationKind::gelu_tanh:
      return activate_rows<ActivationKind::gelu_tanh>(a);
    case ActivationKind::gelu_erf:
      return activate_rows<ActivationKind::gelu_erf>(a);
    case ActivationKind::relu:
      return activate_rows<ActivationKind::relu>(a);
  }
}

static void add_scaled(const AddScaled& a) {
  for (int r = 0; r < a.m; ++r) {
    const float* x = a.x + r * a.ldx;
    float* y = a.y + (a.ids != nullptr ? a.ids[r] : r) * a.ldy;
    const float scale = a.scales != nullptr ? a.scales[r] : 1.0f;
    long c = 0;
    for (; c + LANES <= a.columns; c += LANES) {
      const VecF sum = load_unaligned<sizeof(VecF), VecF>(y + c) +
                       load_unaligned<sizeof(VecF), VecF>(x + c) * scale;
      __builtin_memcpy(y + c, &sum, sizeof sum);
    }
    for (; c < a.columns; ++c) y[c] += x[c] * scale;
  }
}
