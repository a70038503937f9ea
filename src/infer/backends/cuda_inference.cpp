#include "infer/backends/cuda_inference.h"

#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <map>

#include "infer/backends/cuda_device.h"
#include "infer/backends/tensor_inference.h"
#include "model/cuda_ops.h"
#include "model/rope.h"

namespace moebius {
namespace {

/// A stream from the pool, since the default stream cannot be captured; after the default stream's
/// work is done.
c10::Stream new_stream(at::Device device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  const c10::Stream first = guard.getStream(device);
  if (!device.is_cuda()) return first;
  first.synchronize();
  return guard.getStreamFromGlobalPool(device);
}

/// Moves the weights to the device: packed ones as they are, routers and norms in f32, all else in
/// `dtype`.
void move_to(at::Device device, at::ScalarType dtype, Weights& weights) {
  for_each_weight(
      [&](const std::string& slot, Weight& w) {
        if (!w.defined()) return;
        if (w.packed() != nullptr) {
          w = Weight(std::make_shared<const PackedWeight>(packed_on(device, *w.packed())));
          return;
        }
        const bool exact =
            slot.find(".router.") != std::string::npos || slot.find("norm") != std::string::npos;
        w = w.plain().to(device, exact ? at::kFloat : dtype).contiguous();
      },
      weights);
}

/// A decode pass over one token of each of B sequences. The first run is eager, the second captures
/// a CUDA graph, and later ones replay it.
class DecodePass {
 public:
  DecodePass(const Model& model, const RotaryAngles& angles, std::int64_t count,
             at::ScalarType dtype, at::Device device, bool captured)
      : model_(model), angles_(angles), count_(count), dtype_(dtype), captured_(captured) {
    const auto layers = std::ssize(model.spec.layers);
    const auto host = [&](at::ScalarType type) {
      return at::TensorOptions(type).pinned_memory(device.is_cuda());
    };
    host_integers_ = at::empty({2 * count * (1 + layers)}, host(at::kLong));
    host_angles_ = at::empty({2 * count, angles.half()}, host(at::kFloat));
    integers_ = at::empty_like(host_integers_, at::TensorOptions(device));
    device_angles_ = at::empty_like(host_angles_, at::TensorOptions(device));
    inputs_ = {
        .ids_B1 = integers_.narrow(0, 0, count).unsqueeze(1),
        .lengths_B = integers_.narrow(0, count, count),
        .caches_LB2 = integers_.narrow(0, 2 * count, 2 * count * layers).view({layers, count, 2})};
    if (angles.half() > 0) {
      inputs_.rotary = {device_angles_.narrow(0, 0, count), device_angles_.narrow(0, count, count)};
    }
  }

  /// Undivided scores [B, V], which the next pass overwrites.
  at::Tensor run(std::span<const SequencePart> parts) {
    fill(parts);
    if (work_ != nullptr) {
      work_->replay();
    } else if (captured_ && warm_) {
      work_ = capture([&] { compute(); });
      work_->replay();
    } else {
      compute();
      warm_ = true;
    }
    return scores_;
  }
  const std::vector<Routing>& routings() const { return routings_; }

 private:
  void fill(std::span<const SequencePart> parts) {
    auto* ids = host_integers_.mutable_data_ptr<std::int64_t>();
    auto* lengths = ids + count_;
    std::vector<const KvCache*> caches;
    for (const SequencePart& part : parts) {
      const KvCache& cache = static_cast<TensorCache&>(*part.cache).tensors();
      const auto b = std::ssize(caches);
      ids[b] = part.ids[0];
      lengths[b] = cache.length;
      auto* angles = host_angles_.mutable_data_ptr<float>() + b * angles_.half();
      angles_.fill(cache.length, 1, angles, angles + count_ * angles_.half());
      caches.push_back(&cache);
    }
    fill_table(caches, host_integers_.narrow(0, 2 * count_, host_integers_.numel() - 2 * count_)
                           .view(inputs_.caches_LB2.sizes()));
    integers_.copy_(host_integers_, /*non_blocking=*/true);
    device_angles_.copy_(host_angles_, /*non_blocking=*/true);
  }

  void compute() {
    CudaOps ops(model_.spec, dtype_, inputs_);
    const at::Tensor x = graph::decode(ops, model_.weights, inputs_.ids_B1);
    scores_ = graph::head(ops, model_.weights, x).squeeze(1);
    routings_ = std::move(ops.routings());
  }

  const Model& model_;
  const RotaryAngles& angles_;
  std::int64_t count_;
  at::ScalarType dtype_;
  bool captured_, warm_ = false;
  at::Tensor host_integers_, host_angles_, integers_, device_angles_;
  DecodeInputs inputs_;
  std::unique_ptr<CapturedWork> work_;
  at::Tensor scores_;
  std::vector<Routing> routings_;
};

class CudaInference : public TensorInference {
 public:
  /// A model whose weights are on the device.
  CudaInference(Model model, std::string_view name)
      : TensorInference(std::move(model)),
        angles_(model_.spec),
        name_(name),
        stream_(new_stream(device())) {}

  std::string_view weights_name() const override { return name_; }
  std::int64_t memory_for_caches() const override { return available_memory(device()); }

  std::span<float> run(std::span<const SequencePart> parts, RoutingRecorder* recorder) override {
    const at::InferenceMode inference;
    const c10::StreamGuard guard(stream_);
    begin_pass(parts, recorder);
    std::vector<at::Tensor> scores(parts.size());
    std::vector<SequencePart> tokens;  // parts of one token
    std::vector<std::size_t> places;   // of these in `parts`
    std::vector<std::int64_t> rows_T;  // of these in the pass
    std::int64_t row = 0;
    for (std::size_t i = 0; i < parts.size(); row += std::ssize(parts[i++].ids)) {
      if (parts[i].ids.size() > 1) {
        scores[i] = scores_of<CudaOps>(parts[i], row, recorder);
        continue;
      }
      room_for(parts[i]);
      tokens.push_back(parts[i]);
      places.push_back(i);
      rows_T.push_back(row);
    }
    for (std::size_t begin = 0; begin < tokens.size(); begin += max_sequences) {
      const std::size_t count = std::min(max_sequences, tokens.size() - begin);
      const auto some = std::span(tokens).subspan(begin, count);
      const at::Tensor rows =
          decode_tokens(some, std::span(rows_T).subspan(begin, count), recorder);
      for (std::size_t i = 0; i < some.size(); ++i) {
        if (some[i].scores != Scores::none) {
          scores[places[begin + i]] = rows.narrow(0, static_cast<std::int64_t>(i), 1);
        }
      }
    }
    const std::span<float> on_host = to_host(scores);
    // The next pass overwrites the pinned inputs that this one may still read.
    if (on_host.empty() && device().is_cuda()) stream_.synchronize();
    return on_host;
  }

  std::vector<float> reference_scores(std::span<const std::int32_t> ids) override {
    const at::InferenceMode inference;
    const c10::StreamGuard guard(stream_);
    Model plain = model_;
    for_each_weight(
        [&](const std::string& slot, Weight& w) {
          if (!w.defined()) return;
          if (w.packed() != nullptr) {
            const at::Tensor matrices = unpacked(*w.packed(), at::kFloat, device());
            w = slot.find(".experts.") != std::string::npos ? matrices : matrices[0];
          }
          w = w.plain().to(at::kCPU, at::kFloat);
        },
        plain.weights);
    return plain_scores(plain, ids);
  }

  [[noreturn]] void fail_where_not_finite(std::span<const std::int32_t> ids) override {
    const at::InferenceMode inference;
    const c10::StreamGuard guard(stream_);
    CudaOps ops(model_.spec, std::ssize(ids), dtype(), device());
    graph::fail_where_not_finite(ops, model_.weights, ids_tensor(ids).to(device()));
  }

 private:
  static constexpr std::size_t max_sequences = 64;  // of one decode pass

  /// Scores [B, V] after one token of each sequence, whose rows in the pass are `rows_T`.
  at::Tensor decode_tokens(std::span<const SequencePart> parts,
                           std::span<const std::int64_t> rows_T, RoutingRecorder* recorder) {
    const auto count = std::ssize(parts);
    const bool packed = model_.weights.head.packed() != nullptr;
    const bool captured = count <= (packed ? few_rows_of_packed : few_rows);
    DecodePass& pass =
        passes_.try_emplace(count, model_, angles_, count, dtype(), device(), captured)
            .first->second;
    const at::Tensor scores = logits_of(pass.run(parts)).clone();
    record(pass.routings(), /*first_row=*/0, rows_T, recorder);
    for (const SequencePart& part : parts) static_cast<TensorCache&>(*part.cache).advance(1);
    return scores;
  }

  RotaryAngles angles_;
  std::string name_;
  c10::Stream stream_;
  std::map<std::int64_t, DecodePass> passes_;
};

}  // namespace

std::unique_ptr<InferenceModel> cuda_inference(Model model, std::string_view weights,
                                               at::Device device) {
  const at::InferenceMode inference;
  move_to(device, weights == "f32" ? at::kFloat : at::kBFloat16, model.weights);
  return std::make_unique<CudaInference>(std::move(model), weights);
}

}  // namespace moebius
