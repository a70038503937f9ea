#include "model/cuda_ops.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

#include "ops/cpu_kernels.h"
#include "ops/linear.h"

namespace moebius {
namespace {

namespace cuda = kernels::cuda;

bool are_few(std::int64_t rows, const Weight& w) {
  return rows <= (w.packed() != nullptr ? few_rows_of_packed : few_rows);
}

cuda::Stream stream_of(at::Device device) {
  if (!device.is_cuda()) return nullptr;
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle();
}

void check(cuda::Failure failure) {
  if (failure != nullptr) fail("[cuda] {}", failure);
}

std::int64_t rows_of(const at::Tensor& x) {
  return x.numel() / x.size(-1);
}

const float* floats_of(const Weight& w) {
  return w.defined() ? w.plain().const_data_ptr<float>() : nullptr;
}

void* data_of(const at::Tensor& x) {
  return x.defined() ? x.data_ptr() : nullptr;
}

/// x [..., K] as [rows, K], rows of which lie in one piece.
at::Tensor in_rows(const at::Tensor& x) {
  const at::Tensor rows = x.reshape({-1, x.size(-1)});
  return rows.stride(1) == 1 || rows.size(1) == 1 ? rows : rows.contiguous();
}

std::vector<std::int64_t> with_columns(const at::Tensor& x, std::int64_t columns) {
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() = columns;
  return sizes;
}

at::Tensor like(const at::Tensor& t, at::ScalarType dtype) {
  return t.defined() ? t.to(dtype) : t;
}

/// Matrices that are packed unpacked for products with x; others are left as they are.
Weight as_tensor(const Weight& w, const at::Tensor& x) {
  return w.packed() != nullptr ? Weight(unpacked(*w.packed(), x.scalar_type(), x.device())[0]) : w;
}
Ffn as_tensors(const Ffn& w, const at::Tensor& x) {
  Ffn out = w;
  for (Weight* leaf : {&out.gate, &out.up, &out.down}) *leaf = as_tensor(*leaf, x);
  return out;
}
/// The same of E matrices.
Ffn experts_as_tensors(const Ffn& w, const at::Tensor& x) {
  Ffn out = w;
  for (Weight* leaf : {&out.gate, &out.up, &out.down}) {
    if (leaf->packed() != nullptr) *leaf = unpacked(*leaf->packed(), x.scalar_type(), x.device());
  }
  return out;
}

cuda::ProductRows all_rows(std::int64_t count) {
  return {.count = count, .max_rows = count};
}

}  // namespace

void fill_table(std::span<const KvCache* const> caches, const at::Tensor& caches_LB2) {
  auto* table = reinterpret_cast<cuda::KvTensors*>(caches_LB2.mutable_data_ptr<std::int64_t>());
  for (std::int64_t l = 0; l < caches_LB2.size(0); ++l) {
    for (const KvCache* cache : caches) {
      const LayerCache& layer = cache->layers[static_cast<std::size_t>(l)];
      *table++ = {layer.k.data_ptr(), layer.v.data_ptr()};
    }
  }
}

PackedWeight packed_on(at::Device device, const PackedWeight& w) {
  const std::span<const std::byte> from = w.memory();
  const auto bytes = static_cast<std::int64_t>(from.size());
  const at::Tensor host =
      at::from_blob(const_cast<std::byte*>(from.data()), {bytes}, at::TensorOptions(at::kByte));
  const at::Tensor there = host.to(at::TensorOptions(at::kByte).device(device), false, true);
  auto* data = reinterpret_cast<std::byte*>(there.data_ptr());
  return {w.shape(), w.count(), std::shared_ptr<std::byte>(data, [there](std::byte*) {})};
}

at::Tensor unpacked(const PackedWeight& w, at::ScalarType dtype, at::Device device) {
  const kernels::PackedShape& shape = w.shape();
  const at::Tensor out =
      at::empty({w.count(), shape.n, shape.k}, at::TensorOptions(dtype).device(device));
  const kernels::Matrix first = w.matrix();
  check(cuda::unpack({ops::value_type(out), shape, w.count(), first.data, out.data_ptr()},
                     stream_of(device)));
  return out;
}

at::Tensor CudaOps::add_positions(const Tensor& x, const Weight& w_CD) const {
  if (inputs_ == nullptr) return TensorOps::add_positions(x, w_CD);
  const at::Tensor rows = w_CD.plain().index_select(0, inputs_->lengths_B + spec().position_offset);
  return x + rows.to(x.scalar_type()).unsqueeze(1);
}

at::Tensor CudaOps::norm(const Tensor& x, const NormOf<Weight>& w) const {
  const at::Tensor from = x.contiguous(), y = at::empty_like(from);
  check(cuda::norm({.type = ops::value_type(from),
                    .weights = ops::value_type(w.weight),
                    .x = from.data_ptr(),
                    .weight = data_of(w.weight),
                    .bias = data_of(w.bias),
                    .y = y.data_ptr(),
                    .rows = rows_of(from),
                    .columns = from.size(-1),
                    .eps = static_cast<float>(spec().norm_eps),
                    .centred = spec().norm == NormKind::layer},
                   stream_of(x.device())));
  return y;
}

at::Tensor CudaOps::rms_norm(const Tensor& x, const Weight& w, double eps,
                             std::int64_t heads) const {
  const at::Tensor from = x.contiguous(), y = at::empty_like(from);
  check(cuda::norm({.type = ops::value_type(from),
                    .weights = ops::value_type(w),
                    .x = from.data_ptr(),
                    .weight = data_of(w),
                    .y = y.data_ptr(),
                    .rows = rows_of(from) * heads,
                    .columns = from.size(-1) / heads,
                    .eps = static_cast<float>(eps)},
                   stream_of(x.device())));
  return y;
}

void CudaOps::quantise(Input& input, const kernels::PackedShape& shape) const {
  if (input.codes.defined() && input.shape.type == shape.type && input.shape.group == shape.group) {
    return;
  }
  const at::Tensor x = in_rows(input.x);
  const std::int64_t rows = x.size(0);
  input.shape = shape;
  input.codes = at::empty({rows, shape.padded_k()}, x.options().dtype(at::kChar));
  input.scales = at::empty({rows, shape.x_groups()}, x.options().dtype(at::kFloat));
  check(cuda::quantise(
      {ops::value_type(x), shape, x.data_ptr(), rows, x.stride(0),
       input.codes.mutable_data_ptr<std::int8_t>(), input.scales.mutable_data_ptr<float>()},
      stream_of(x.device())));
}

at::Tensor CudaOps::multiply(Input& input, const cuda::ProductRows& rows, const Linear& l,
                             const Tensor& onto) const {
  const Weight& w = l.w;
  const std::int64_t n = w.packed() != nullptr ? w.packed()->shape().n : w.plain().size(-2);
  const at::Tensor x = in_rows(input.x), bias = like(l.bias, x.scalar_type());
  const at::Tensor y = at::empty({rows.count, n}, x.options());
  const cuda::ProductEnd end{data_of(bias), data_of(onto),
                             static_cast<float>(spec().residual_multiplier), y.data_ptr(), n};
  const cuda::Stream stream = stream_of(x.device());
  if (w.packed() != nullptr) {
    const kernels::Matrix first = w.packed()->matrix();
    quantise(input, first.shape);
    check(cuda::multiply(cuda::PackedProduct{ops::value_type(x), rows, first.shape,
                                             input.codes.const_data_ptr<std::int8_t>(),
                                             input.scales.const_data_ptr<float>(), first.data, end},
                         stream));
  } else {
    const at::Tensor matrices = like(w, x.scalar_type()).contiguous();
    check(cuda::multiply(cuda::PlainProduct{ops::value_type(x), rows, x.data_ptr(),
                                            matrices.data_ptr(), n, x.size(1), x.stride(0), end},
                         stream));
  }
  return y;
}

at::Tensor CudaOps::product(Input& input, const Linear& l) const {
  const at::Tensor& x = input.x;
  const std::int64_t rows = rows_of(x);
  if (!are_few(rows, l.w)) {
    return ops::linear(x, as_tensor(l.w, x), l.bias);
  }
  const at::Tensor y = multiply(input, all_rows(rows), l);
  return y.view(with_columns(x, y.size(1)));
}

at::Tensor CudaOps::add_linear(const Tensor& x, const Tensor& y, const Linear& l) const {
  const std::int64_t rows = rows_of(y);
  if (!are_few(rows, l.w)) return add(x, linear(y, l));
  Input input(y);
  return multiply(input, all_rows(rows), l, in_rows(x).contiguous()).view(x.sizes());
}

at::Tensor CudaOps::rotate(const Tensor& x, std::int64_t heads) const {
  const at::Tensor &cos = angles().cos_SP, &sin = angles().sin_SP;
  if (!cos.defined()) return x;
  const at::Tensor from = in_rows(x), y = at::empty(x.sizes(), x.options());
  check(cuda::rotate({.type = ops::value_type(from),
                      .x = from.data_ptr(),
                      .y = y.data_ptr(),
                      .cos = cos.const_data_ptr<float>(),
                      .sin = sin.const_data_ptr<float>(),
                      .rows = from.size(0),
                      .heads = heads,
                      .dim = from.size(1) / heads,
                      .half = cos.size(1),
                      .ldx = from.stride(0),
                      .ldy = from.size(1),
                      .interleaved = spec().rope.interleaved},
                     stream_of(x.device())));
  return y;
}

at::Tensor CudaOps::attend_to_past(std::size_t layer, const Tensor& q, const Tensor& k,
                                   const Tensor& v, std::int64_t groups,
                                   std::int64_t value_dim) const {
  constexpr std::int64_t blocks_wanted = 256, most_splits = 32;
  const std::int64_t count = q.size(0), heads = spec().heads, key_dim = k.size(-1) / groups;
  const std::int64_t splits =
      std::clamp<std::int64_t>(blocks_wanted / (count * groups), 1, most_splits);
  const at::Tensor y = at::empty({count, 1, heads * value_dim}, q.options());
  const at::Tensor partial =
      at::empty({count, heads, splits, value_dim + 2}, q.options().dtype(at::kFloat));
  const at::Tensor queries = q.contiguous(), keys = k.contiguous(),
                   values = v.defined() ? v.contiguous() : v;
  const auto* table = inputs_->caches_LB2[static_cast<std::int64_t>(layer)].const_data_ptr();
  check(cuda::decode_attention({.type = ops::value_type(q),
                                .sequences = static_cast<const cuda::KvTensors*>(table),
                                .lengths = inputs_->lengths_B.const_data_ptr<std::int64_t>(),
                                .q = queries.data_ptr(),
                                .k = keys.data_ptr(),
                                .v = data_of(values),
                                .y = y.data_ptr(),
                                .partial = partial.mutable_data_ptr<float>(),
                                .count = count,
                                .heads = heads,
                                .groups = groups,
                                .key_dim = key_dim,
                                .value_dim = value_dim,
                                .value_apart = v.defined() ? value_dim : key_dim,
                                .splits = splits,
                                .window = spec().layers[layer].window,
                                .scale = static_cast<float>(spec().attention_scale)},
                               stream_of(q.device())));
  return y;
}

at::Tensor CudaOps::attend(std::size_t layer, const Tensor& q, const Tensor& k, const Tensor& v) {
  if (inputs_ == nullptr) return TensorOps::attend(layer, q, k, v);
  return attend_to_past(layer, q, k, v, spec().kv_heads, spec().head_dim);
}

at::Tensor CudaOps::attend_to_latents(std::size_t layer, const Tensor& q, const Tensor& k,
                                      const Tensor& c, const Weight& b) {
  if (inputs_ == nullptr) return TensorOps::attend_to_latents(layer, q, k, c, b);
  const std::int64_t heads = spec().heads, rotated = k.size(-1), plain = spec().head_dim - rotated;
  const std::int64_t values = spec().latent->value_dim, count = q.size(0);
  const at::Tensor b_HXR = b.plain().to(dtype()).unflatten(0, {heads, -1});
  const at::Tensor q_BHA = q.view({count, heads, -1});
  const at::Tensor absorbed =
      at::einsum("bhn,hnr->bhr", {q_BHA.narrow(-1, 0, plain), b_HXR.narrow(1, 0, plain)});
  const at::Tensor queries = at::cat({q_BHA.narrow(-1, plain, rotated), absorbed}, -1);
  const at::Tensor mixed =
      attend_to_past(layer, queries.view({count, 1, -1}), at::cat({k, c}, -1), {}, 1, c.size(-1));
  return at::einsum("bhr,hvr->bhv",
                    {mixed.view({count, heads, -1}), b_HXR.narrow(1, plain, values)})
      .reshape({count, 1, heads * values});
}

at::Tensor CudaOps::ffn_rows(Input& input, const cuda::ProductRows& rows, const Ffn& w,
                             const Tensor& onto) const {
  const at::Tensor up = multiply(input, rows, {w.up, w.up_bias});
  const at::Tensor gate =
      w.gate.defined() ? multiply(input, rows, {w.gate, w.gate_bias}) : at::Tensor();
  const at::Tensor h = at::empty_like(up);
  const std::int64_t width = up.size(1);
  check(cuda::activate({spec().activation, ops::value_type(up), data_of(gate), up.data_ptr(),
                        h.data_ptr(), rows.count, width, width, width},
                       stream_of(up.device())));
  Input hidden(h);
  cuda::ProductRows in_order = rows;
  in_order.ids = nullptr;
  return multiply(hidden, in_order, {w.down, w.down_bias}, onto);
}

at::Tensor CudaOps::add_ffn(const Tensor& x, const Tensor& y, const Ffn& w,
                            std::size_t layer) const {
  const std::int64_t rows = rows_of(y);
  if (!are_few(rows, w.up)) {
    return TensorOps::add_ffn(x, y, as_tensors(w, y), layer);
  }
  Input input(y);
  return ffn_rows(input, all_rows(rows), w, in_rows(x).contiguous()).view(x.sizes());
}

at::Tensor CudaOps::shared_part(Input& input, const Moe& w, const MoeSpec& moe) const {
  const std::int64_t tokens = rows_of(input.x);
  at::Tensor sum;
  if (w.shared.up.defined()) {
    sum = ffn_rows(input, all_rows(tokens), w.shared);
    if (moe.shared_gate)
      sum = sum * at::sigmoid(multiply(input, all_rows(tokens), {w.shared_gate}));
  }
  if (!w.bias.defined()) return sum;
  const at::Tensor bias = like(w.bias, input.x.scalar_type());
  return sum.defined() ? sum + bias : bias.expand({tokens, -1}).contiguous();
}

at::Tensor CudaOps::add_moe(const Tensor& x, const Tensor& y, const Moe& w, std::size_t layer) {
  const MoeSpec& moe = *spec().layers[layer].moe;
  const std::int64_t tokens = rows_of(y), routed = tokens * moe.top_k;
  if (!are_few(tokens, w.experts.up)) {
    Moe plain = w;
    plain.experts = experts_as_tensors(w.experts, y);
    plain.shared = as_tensors(w.shared, y);
    return add(x, TensorOps::moe(y, plain, moe));
  }
  const cuda::Stream stream = stream_of(y.device());
  Input input(y.reshape({tokens, -1}));
  const auto integers = y.options().dtype(at::kInt);
  Routing routing;
  if (moe.scores == RouterScores::linear) {
    Input in_f32(input.x.to(at::kFloat));
    routing.logits_TE = multiply(in_f32, all_rows(tokens), {w.router.weight, w.router.bias});
  } else {
    routing.logits_TE = router_logits(input.x, w.router, moe, spec().activation);
  }
  routing.ids_TK = at::empty({tokens, moe.top_k}, integers);
  routing.weights_TK = at::empty({tokens, moe.top_k}, y.options().dtype(at::kFloat));
  auto* ids = routing.ids_TK.mutable_data_ptr<std::int32_t>();
  auto* weights = routing.weights_TK.mutable_data_ptr<float>();
  check(
      cuda::route({rule_of(moe), routing.logits_TE.const_data_ptr<float>(),
                   floats_of(w.router.correction), floats_of(w.router.scale), tokens, ids, weights},
                  stream));
  const at::Tensor counts = at::empty({moe.experts}, integers),
                   offsets = at::empty({moe.experts + 1}, integers),
                   rows = at::empty({routed}, integers), places = at::empty({routed}, integers);
  check(cuda::sort_by_expert(
      {ids, tokens, moe.top_k, moe.experts, counts.mutable_data_ptr<std::int32_t>(),
       offsets.mutable_data_ptr<std::int32_t>(), rows.mutable_data_ptr<std::int32_t>(),
       places.mutable_data_ptr<std::int32_t>()},
      stream));
  const cuda::ProductRows by_expert{routed, rows.const_data_ptr<std::int32_t>(),
                                    offsets.const_data_ptr<std::int32_t>(), moe.experts, tokens};
  const at::Tensor answers = ffn_rows(input, by_expert, w.experts);
  const at::Tensor shared = shared_part(input, w, moe);
  const at::Tensor before = x.contiguous(), sum = at::empty(x.sizes(), x.options());
  check(cuda::combine({.type = ops::value_type(x),
                       .x = answers.data_ptr(),
                       .places = places.const_data_ptr<std::int32_t>(),
                       .weights = weights,
                       .shared = data_of(shared),
                       .residual = before.data_ptr(),
                       .y = sum.data_ptr(),
                       .multiplier = static_cast<float>(spec().residual_multiplier),
                       .tokens = tokens,
                       .top_k = moe.top_k,
                       .columns = x.size(-1)},
                      stream));
  routings().push_back(std::move(routing));
  return sum;
}

}  // namespace moebius
