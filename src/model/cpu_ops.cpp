#include "model/cpu_ops.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "kernels/linear.h"

namespace moebius {
namespace {

const float* values_of(const Weight& w) {
  return w.defined() ? w.plain().const_data_ptr<float>() : nullptr;
}

kernels::Plain plain(const Rows& x) {
  return {x.data, kernels::ValueType::f32, x.stride};
}

}  // namespace

CpuOps::CpuOps(const CpuModel& model, const kernels::CpuContext& cpu,
               std::span<const CpuSequence> sequences, RoutingRecorder* recorder)
    : model_(model), cpu_(cpu), sequences_(sequences), recorder_(recorder) {
  std::int64_t tokens = 0;
  for (const CpuSequence& s : sequences) tokens += s.count;
  if (recorder_ != nullptr) recorder_->begin_pass(model.layers.size(), tokens);
  const std::int64_t half = model.angles.half();
  if (half == 0) return;
  cos_ = take(tokens, half);
  sin_ = take(tokens, half);
  std::int64_t row = 0;
  for (const CpuSequence& s : sequences) {
    model.angles.fill(s.past, s.count, cos_.row(row), sin_.row(row));
    row += s.count;
  }
}

Rows CpuOps::take(std::int64_t rows, std::int64_t columns) const {
  return {cpu_.arena.take<float>(rows * columns), rows, columns, columns};
}

void CpuOps::expect(std::initializer_list<const PackedWeight*> weights) const {
  constexpr std::int64_t most = 256 << 10;  // stays in a second-level cache
  const std::byte* begin = (*weights.begin())->matrix().data;
  std::int64_t bytes = 0;
  for (const PackedWeight* w : weights) {
    if (w != nullptr && w->matrix().data == begin + bytes) bytes += w->bytes();
  }
  const std::int64_t share = bytes / cpu_.executor.threads();  // each thread begins with its own
  cpu_.executor.prefetch_when_idle(begin, std::min(most, share), share);
}

template <class Work>
void CpuOps::for_each_row(const Rows& x, Work work) const {
  constexpr std::int64_t at_once = 8;
  kernels::run_pieces(cpu_, x.rows * x.columns, (x.rows + at_once - 1) / at_once,
                      [&](std::int64_t piece, int) {
                        const std::int64_t end = std::min((piece + 1) * at_once, x.rows);
                        for (std::int64_t r = piece * at_once; r < end; ++r) work(r);
                      });
}

Rows CpuOps::embedding(Ids ids, const Weight& w) const {
  const at::Tensor& table = w;
  const std::int64_t columns = table.size(1);
  // Rows at distances of a power of two would share few sets of a cache.
  const std::int64_t stride = ((columns + 15) / 16 | 1) * 16;
  const Rows x{cpu_.arena.take<float>(std::ssize(ids) * stride), std::ssize(ids), columns, stride};
  for_each_row(
      x, [&](std::int64_t r) { widen_row(table, ids[static_cast<std::size_t>(r)], x.row(r)); });
  return x;
}

Rows CpuOps::add_positions(const Rows& x, const Weight& w_CD) const {
  const Rows position = take(1, x.columns);
  std::int64_t row = 0;
  for (const CpuSequence& s : sequences_) {
    for (std::int64_t t = 0; t < s.count; ++t, ++row) {
      widen_row(w_CD, s.past + t + model_.spec.position_offset, position.data);
      for (std::int64_t i = 0; i < x.columns; ++i) x.row(row)[i] += position.data[i];
    }
  }
  return x;
}

Rows CpuOps::scale(const Rows& x, double factor) const {
  const auto f = static_cast<float>(factor);
  for_each_row(x, [&](std::int64_t r) {
    for (std::int64_t i = 0; i < x.columns; ++i) x.row(r)[i] *= f;
  });
  return x;
}

Rows CpuOps::clamp(const Rows& x, double bound) const {
  const auto b = static_cast<float>(bound);
  for_each_row(x, [&](std::int64_t r) {
    for (std::int64_t i = 0; i < x.columns; ++i) x.row(r)[i] = std::clamp(x.row(r)[i], -b, b);
  });
  return x;
}

Rows CpuOps::columns(const Rows& x, std::int64_t begin, std::int64_t count) const {
  return {x.data + begin, x.rows, count, x.stride};
}

bool CpuOps::all_finite(const Rows& x) const {
  for (std::int64_t r = 0; r < x.rows; ++r) {
    for (std::int64_t i = 0; i < x.columns; ++i) {
      if (!std::isfinite(x.row(r)[i])) return false;
    }
  }
  return true;
}

void CpuOps::norm_rows(const Rows& x, const Rows& y, const float* weight, const float* bias,
                       double eps, bool centred) const {
  for_each_row(x, [&](std::int64_t r) {
    cpu_.table.norm({x.row(r), y.row(r), kernels::ValueType::f32, weight, bias, 1, x.columns,
                     x.stride, y.stride, static_cast<float>(eps), centred});
  });
}

Rows CpuOps::norm(const Rows& x, const NormOf<Weight>& w) const {
  const Rows y = take(x.rows, x.columns);
  norm_rows(x, y, values_of(w.weight), values_of(w.bias), spec().norm_eps,
            spec().norm == NormKind::layer);
  return y;
}

Rows CpuOps::norm_sum(const Rows& x, const NormOf<Weight>& w) const {
  norm_rows(x, x, values_of(w.weight), values_of(w.bias), spec().norm_eps,
            spec().norm == NormKind::layer);
  return x;
}

Rows CpuOps::rms_norm(const Rows& x, const Weight& w, double eps, std::int64_t heads) const {
  const std::int64_t width = x.columns / heads;
  const Rows y = take(x.rows, x.columns);
  for_each_row(x, [&](std::int64_t r) {
    cpu_.table.norm({x.row(r), y.row(r), kernels::ValueType::f32, values_of(w), nullptr, heads,
                     width, width, width, static_cast<float>(eps), false});
  });
  return y;
}

void CpuOps::multiply(const Rows& x, std::span<const Linear> ls, std::span<Rows> out) const {
  std::array<kernels::Product, 4> products;
  std::size_t begin = 0;
  const auto same = [&](const Linear& a, const Linear& b) {
    const kernels::PackedShape &s = a.w.packed()->shape(), &t = b.w.packed()->shape();
    return s.type == t.type && s.group == t.group;
  };
  for (std::size_t i = 0; i < ls.size(); ++i) {
    out[i] = take(x.rows, ls[i].w.packed()->shape().n);
    products[i] = {ls[i].w.packed()->matrix(), values_of(ls[i].bias), out[i].data, out[i].stride};
    if (i + 1 < ls.size() && same(ls[i], ls[i + 1])) continue;
    kernels::linear(cpu_, plain(x), x.rows, std::span(products).subspan(begin, i + 1 - begin));
    begin = i + 1;
  }
}

Rows CpuOps::rotate(const Rows& x, std::int64_t heads) const {
  if (cos_.data == nullptr) return x;
  const bool interleaved = spec().rope.interleaved;
  const Rows y = interleaved ? take(x.rows, x.columns) : x;
  for_each_row(x, [&](std::int64_t r) {
    cpu_.table.rotate({x.row(r), y.row(r), kernels::ValueType::f32, cos_.row(r), sin_.row(r), 1,
                       heads, x.columns / heads, cos_.columns, x.stride, y.stride, interleaved});
  });
  return y;
}

Rows CpuOps::attention(std::size_t layer, const kernels::Attention& args, const Rows& q,
                       const Rows& k, const Rows& v) const {
  expect({model_.weights.layers[layer].attn.o.packed()});
  const Rows y = take(q.rows, args.ldy);
  auto* tokens = cpu_.arena.take<kernels::NewTokens>(std::ssize(sequences_));
  std::int64_t row = 0;
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    const CpuSequence& s = sequences_[i];
    const kernels::KvPages pages{s.pages, static_cast<std::int64_t>(layer) * model_.kv.bytes()};
    tokens[i] = {pages, q.row(row), k.row(row), v.row(row), y.row(row), s.count, s.past};
    row += s.count;
  }
  kernels::attend(cpu_, args, {tokens, sequences_.size()});
  return y;
}

Rows CpuOps::attend(std::size_t layer, const Rows& q, const Rows& k, const Rows& v) const {
  return attention(layer,
                   {.layout = model_.kv,
                    .heads = spec().heads,
                    .window = spec().layers[layer].window,
                    .scale = static_cast<float>(spec().attention_scale),
                    .ldq = q.stride,
                    .ldk = k.stride,
                    .ldv = v.stride,
                    .ldy = spec().heads * spec().head_dim},
                   q, k, v);
}

void CpuOps::multiply_heads(const Rows& x, std::int64_t x_apart, const PackedWeight& w,
                            const Rows& y, std::int64_t y_apart) const {
  for (std::int64_t h = 0; h < w.count(); ++h) {
    const kernels::Product product{w.matrix(h), nullptr, y.data + h * y_apart, y.stride};
    kernels::linear(cpu_, {x.data + h * x_apart, kernels::ValueType::f32, x.stride}, x.rows,
                    {&product, 1});
  }
}

Rows CpuOps::attend_to_latents(std::size_t layer, const Rows& q, const Rows& k, const Rows& c,
                               const Weight&) const {
  const std::int64_t heads = spec().heads, rank = c.columns, width = rank + k.columns;
  const std::int64_t dim = spec().head_dim, plain = dim - k.columns;
  const std::vector<PackedWeight>& ways = model_.layers[layer].absorbed;
  const Rows absorbed = take(q.rows, heads * width), keys = take(q.rows, width);
  multiply_heads(q, dim, ways[0], absorbed, width);
  for_each_row(q, [&](std::int64_t r) {
    for (std::int64_t h = 0; h < heads; ++h) {
      std::copy_n(q.row(r) + h * dim + plain, k.columns, absorbed.row(r) + h * width + rank);
    }
    std::copy_n(c.row(r), rank, keys.row(r));
    std::copy_n(k.row(r), k.columns, keys.row(r) + rank);
  });
  const Rows mixed = attention(layer,
                               {.layout = model_.kv,
                                .heads = heads,
                                .scale = static_cast<float>(spec().attention_scale),
                                .ldq = absorbed.stride,
                                .ldk = keys.stride,
                                .ldv = c.stride,
                                .ldy = heads * rank},
                               absorbed, keys, c);
  const std::int64_t values = spec().latent->value_dim;
  const Rows y = take(q.rows, heads * values);
  multiply_heads(mixed, rank, ways[1], y, values);
  return y;
}

Rows CpuOps::add_linear(const Rows& x, const Rows& y, const Linear& l) const {
  const kernels::Product product{l.w.packed()->matrix(),
                                 values_of(l.bias),
                                 x.data,
                                 x.stride,
                                 true,
                                 static_cast<float>(spec().residual_multiplier)};
  kernels::linear(cpu_, plain(y), y.rows, {&product, 1});
  return x;
}

void CpuOps::expect_layer(std::size_t layer) const {
  const Weights& w = model_.weights;
  if (layer == w.layers.size()) return expect({w.head.packed()});
  const AttentionOf<Weight>& a = w.layers[layer].attn;
  if (!a.q.defined()) return expect({a.q_latent.a.packed()});
  expect({a.q.packed(), a.k.packed(), a.v.packed()});
}

Rows CpuOps::add_ffn(const Rows& x, const Rows& y, const Ffn&, std::size_t layer) const {
  auto* rows = cpu_.arena.take<std::int32_t>(y.rows);
  auto* scales = cpu_.arena.take<float>(y.rows);
  std::iota(rows, rows + y.rows, 0);
  std::fill_n(scales, y.rows, static_cast<float>(spec().residual_multiplier));
  kernels::FfnJob job = model_.layers[layer].ffns[0];
  job.end = y.rows;
  kernels::grouped_ffn(
      cpu_,
      {{&job, 1}, rows, scales, y.data, x.data, y.rows, y.stride, x.stride, spec().activation});
  return x;
}

Rows CpuOps::router_logits(const Rows& x, const Moe& w, std::size_t layer) const {
  const std::vector<PackedWeight>& scores = model_.layers[layer].scores;
  const std::int64_t experts = scores[0].shape().n;
  const std::int64_t width =
      (experts + kernels::panel_width - 1) / kernels::panel_width * kernels::panel_width;
  const auto columns = std::ssize(scores);
  const Rows y = take(x.rows, columns * width), logits = take(x.rows, experts);
  const kernels::Product products[] = {
      {scores[0].matrix(), values_of(w.router.bias), y.data, y.stride},
      {scores.back().matrix(), values_of(w.router.up_bias), y.data + width, y.stride}};
  kernels::linear(cpu_, plain(x), x.rows, std::span(products).first(scores.size()));
  const bool neurons = spec().layers[layer].moe->scores == RouterScores::neurons;
  for_each_row(y, [&](std::int64_t r) {
    if (neurons) {
      for (std::int64_t c = 0; c < columns; ++c) {  // what no score lies in
        std::fill(y.row(r) + c * width + experts, y.row(r) + (c + 1) * width, 0.0f);
      }
      cpu_.table.activate({spec().activation, y.row(r), y.row(r), 1, width, columns > 1 ? width : 0,
                           y.stride, y.stride});
    }
    for (std::int64_t e = 0; e < experts; ++e) {
      logits.row(r)[e] = neurons ? std::fabs(y.row(r)[e]) : y.row(r)[e];
    }
  });
  return logits;
}

void CpuOps::record_routing(std::size_t layer, const Rows& logits, const std::int32_t* ids_TK,
                            std::int64_t top_k) const {
  if (recorder_ == nullptr) return;
  double entropy_sum = 0;
  for (std::int64_t t = 0; recorder_->wants_entropy() && t < logits.rows; ++t) {
    entropy_sum += softmax_entropy({logits.row(t), static_cast<std::size_t>(logits.columns)});
  }
  recorder_->add(
      layer,
      {{ids_TK, static_cast<std::size_t>(logits.rows * top_k)}, top_k, logits.columns, entropy_sum},
      /*first_row=*/0);
}

Rows CpuOps::add_moe(const Rows& x, const Rows& y, const Moe& w, std::size_t layer) const {
  const CpuLayer& prepared = model_.layers[layer];
  const kernels::RoutingRule& rule = prepared.rule;
  const std::int64_t tokens = y.rows, routed = tokens * rule.top_k;
  const bool shared = std::ssize(prepared.ffns) > rule.experts;
  Arena& arena = cpu_.arena;

  expect({&prepared.scores[0]});
  const Rows logits = router_logits(y, w, layer);
  auto* ids = arena.take<std::int32_t>(routed);
  const Rows weights = take(tokens, rule.top_k);
  const Rows rooms = take(cpu_.executor.threads(), 3 * rule.experts);
  const float *correction = values_of(w.router.correction), *scale = values_of(w.router.scale);
  kernels::run_pieces(cpu_, tokens * rule.experts * 8, tokens, [&](std::int64_t t, int thread) {
    kernels::route(rule, logits.row(t), 1, correction, scale, rooms.row(thread),
                   ids + t * rule.top_k, weights.row(t));
  });

  auto* offsets = arena.take<std::int64_t>(rule.experts + 2);
  auto* rows = arena.take<std::int32_t>(routed + tokens);
  auto* scales = arena.take<float>(routed + tokens);
  kernels::sort_by_expert(rule, ids, weights.data, tokens, offsets, rows, scales);
  record_routing(layer, logits, ids, rule.top_k);
  const auto multiplier = static_cast<float>(spec().residual_multiplier);
  if (shared) {
    offsets[rule.experts + 1] = routed + tokens;
    std::iota(rows + routed, rows + routed + tokens, 0);
    std::fill_n(scales + routed, tokens, multiplier);
    if (!prepared.shared_gate.empty()) gate_shared(y, prepared.shared_gate[0], scales + routed);
  }

  auto* jobs = arena.take<kernels::FfnJob>(std::ssize(prepared.ffns));
  std::int64_t count = 0;
  for (std::int64_t e = 0; e < std::ssize(prepared.ffns); ++e) {
    if (offsets[e] == offsets[e + 1]) continue;
    jobs[count] = prepared.ffns[static_cast<std::size_t>(e)];
    jobs[count].begin = offsets[e];
    jobs[count].end = offsets[e + 1];
    ++count;
  }
  expect_layer(layer + 1);
  kernels::grouped_ffn(cpu_, {{jobs, static_cast<std::size_t>(count)},
                              rows,
                              scales,
                              y.data,
                              x.data,
                              tokens,
                              y.stride,
                              x.stride,
                              spec().activation});
  if (w.bias.defined()) {
    const float* bias = values_of(w.bias);
    for_each_row(x, [&](std::int64_t r) {
      for (std::int64_t i = 0; i < x.columns; ++i) x.row(r)[i] += multiplier * bias[i];
    });
  }
  return x;
}

void CpuOps::gate_shared(const Rows& x, const PackedWeight& gate, float* scales) const {
  const Rows scores = take(x.rows, 1);
  const kernels::Product product{gate.matrix(), nullptr, scores.data, 1};
  kernels::linear(cpu_, plain(x), x.rows, {&product, 1});
  for (std::int64_t t = 0; t < x.rows; ++t) scales[t] /= 1 + std::exp(-scores.data[t]);
}

}  // namespace moebius
