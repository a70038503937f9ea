#include "model/load.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "base/random.h"
#include "checkpoint/writer.h"

namespace moebius {
namespace {

/// The dimension along which parts of a stored tensor are concatenated: outputs.
std::int64_t output_dim(const at::Tensor& t) {
  return t.dim() == 1 ? 0 : t.dim() - 2;
}

/// [E, ...] as a view if the experts are at equal distances in one file (as moebius and Hugging
/// Face write them) or are all one tensor, else a copy.
at::Tensor stack_experts(const std::vector<at::Tensor>& experts) {
  const at::Tensor& first = experts[0];
  std::vector<std::int64_t> sizes(first.sizes().vec()), strides(first.strides().vec());
  sizes.insert(sizes.begin(), static_cast<std::int64_t>(experts.size()));
  const auto bytes_to = [&](std::size_t e) {
    return static_cast<const char*>(experts[e].const_data_ptr()) -
           static_cast<const char*>(first.const_data_ptr());
  };
  const auto item = static_cast<std::ptrdiff_t>(first.element_size());
  const std::ptrdiff_t step = experts.size() > 1 ? bytes_to(1) : item * first.numel();
  bool even = step >= 0 && step % item == 0;
  for (std::size_t e = 0; e < experts.size() && even; ++e) {
    even =
        bytes_to(e) == step * static_cast<std::ptrdiff_t>(e) && experts[e].dtype() == first.dtype();
  }
  if (!even) return at::stack(experts);
  strides.insert(strides.begin(), step / item);
  return at::from_blob(
      const_cast<void*>(first.const_data_ptr()), sizes, strides, [keep = experts](void*) {},
      first.options());
}

}  // namespace

at::ScalarType to_torch(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return at::kHalf;
    case DType::bf16:
      return at::kBFloat16;
    case DType::f32:
      return at::kFloat;
    default:
      fail("dtype {} cannot hold weights", short_name(dtype));
  }
}

DType from_torch(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf:
      return DType::f16;
    case at::kBFloat16:
      return DType::bf16;
    case at::kFloat:
      return DType::f32;
    default:
      fail("this tensor's dtype cannot be stored as a weight");
  }
}

at::Tensor map_tensor(const TensorEntry& entry) {
  if (reinterpret_cast<std::uintptr_t>(entry.data) % size_of(entry.dtype) != 0) {
    at::Tensor copy = at::empty(entry.shape, to_torch(entry.dtype));
    std::memcpy(copy.mutable_data_ptr(), entry.data, entry.bytes);
    return copy;
  }
  return at::from_blob(
      const_cast<std::byte*>(entry.data), entry.shape,
      [file = entry.file, owned = entry.owned](void*) {}, at::TensorOptions(to_torch(entry.dtype)));
}

Weights gather_weights(const ModelSpec& spec, const std::vector<StoredTensor>& tensors) {
  std::map<std::string, std::vector<at::Tensor>> slots;  // one tensor, or one an expert
  for (const StoredTensor& stored : tensors) {
    const std::vector<std::string>& names = stored.what.slots;
    const at::Tensor tensor =
        stored.what.transposed ? stored.tensor.transpose(-1, -2) : stored.tensor;
    const auto parts = tensor.chunk(static_cast<std::int64_t>(names.size()), output_dim(tensor));
    for (std::size_t p = 0; p < parts.size(); ++p) slots[names[p]].push_back(parts[p]);
  }
  auto weights = make_weights<Weight>(spec);
  const auto shapes = weight_shapes(spec);
  for_each_weight(
      [&](const std::string& slot, at::Tensor& weight, const Shape& shape) {
        const auto found = slots.find(slot);
        if (found == slots.end()) return;
        const std::vector<at::Tensor>& parts = found->second;
        const bool stacked = parts[0].dim() + 1 == static_cast<std::int64_t>(shape.size());
        weight = stacked ? stack_experts(parts) : parts[0];
      },
      weights, shapes);
  return weights;
}

Weights map_weights(const ModelSpec& spec, const std::vector<BoundTensor>& bound) {
  std::vector<StoredTensor> tensors;
  for (const BoundTensor& tensor : bound) {
    tensors.push_back({tensor.wanted, map_tensor(*tensor.found)});
  }
  return gather_weights(spec, tensors);
}

Weights map_weights(const ModelSpec& spec, const CheckpointIndex& index) {
  return map_weights(spec, bind_checkpoint(spec, index));
}

Model map_model(const fs::path& directory, const Log& log) {
  const Checkpoint opened = open_checkpoint(directory, log);
  return {opened.spec, map_weights(opened.spec, opened.bound)};
}

void move_weights(Weights& weights, std::optional<DType> dtype, at::Device device) {
  for_each_weight(
      [&](const std::string& slot, at::Tensor& weight) {
        if (!weight.defined()) return;
        const at::ScalarType stored =
            weight.scalar_type() == at::kHalf ? at::kFloat : weight.scalar_type();
        weight = weight.to(device, dtype && !is_buffer(slot) ? to_torch(*dtype) : stored);
      },
      weights);
}

Model load_model(const fs::path& directory, std::optional<DType> dtype, at::Device device,
                 const Log& log) {
  Model model = map_model(directory, log);
  move_weights(model.weights, dtype, device);
  return model;
}

Weights init_weights(const ModelSpec& spec, std::uint64_t seed) {
  auto weights = make_weights<Weight>(spec);
  const auto shapes = weight_shapes(spec);
  const double residual = 1.0 / std::sqrt(2.0 * static_cast<double>(spec.layers.size()));
  for_each_weight(
      [&](const std::string& slot, at::Tensor& weight, const Shape& shape) {
        if (shape.empty()) return;
        weight = at::zeros(shape, at::kFloat);
        if (slot.ends_with(".bias") || slot.ends_with(".scale") || is_buffer(slot)) return;
        if (slot.find("norm") != std::string::npos) {
          weight.fill_(1.0);
          return;
        }
        const bool into_residual = slot.ends_with(".o.weight") || slot.ends_with(".down.weight");
        const double deviation = spec.initializer_range * (into_residual ? residual : 1.0);
        const Random random(seed, stream_of(slot));
        auto* values = weight.mutable_data_ptr<float>();
        for (std::int64_t i = 0; i < weight.numel(); ++i) {
          values[i] = static_cast<float>(deviation * random.normal(static_cast<std::uint64_t>(i)));
        }
      },
      weights, shapes);
  return weights;
}

Weights copy_weights(const Weights& weights, at::ScalarType dtype, at::Device device) {
  Weights copy = weights;
  for_each_weight(
      [&](const std::string& slot, at::Tensor& weight) {
        if (!weight.defined()) return;
        const at::ScalarType type = is_buffer(slot) ? at::kFloat : dtype;
        weight = weight.detach()
                     .to(at::TensorOptions(type).device(device), false, /*copy=*/true)
                     .contiguous();
      },
      copy);
  return copy;
}

void save_weights(const ModelSpec& spec, const Weights& weights, DType dtype,
                  const fs::path& directory, std::size_t max_shard_bytes) {
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> by_slot;
  for_each_weight(
      [&](const std::string& slot, const at::Tensor& weight) {
        if (weight.defined()) by_slot.emplace(slot, weight.detach());
      },
      weights);
  const std::vector<FileTensor> layout = file_layout(spec);
  std::vector<TensorMeta> metas;
  for (const FileTensor& tensor : layout) {
    metas.push_back({tensor.name, is_buffer(tensor.slots[0]) ? DType::f32 : dtype, tensor.shape});
  }
  ShardedWriter writer(directory, metas, max_shard_bytes);
  for (std::size_t t = 0; t < layout.size(); ++t) {
    std::vector<at::Tensor> parts;
    for (const std::string& slot : layout[t].slots) {
      const at::Tensor& weight = by_slot.at(slot);
      parts.push_back(layout[t].expert >= 0 ? weight[layout[t].expert] : weight);
    }
    at::Tensor whole = parts.size() == 1 ? parts[0] : at::cat(parts, output_dim(parts[0]));
    if (layout[t].transposed) whole = whole.transpose(-1, -2);
    whole = whole.to(at::kCPU, to_torch(metas[t].dtype)).contiguous();
    writer.write(t, {static_cast<const std::byte*>(whole.const_data_ptr()), whole.nbytes()});
  }
  writer.finish();
}

std::int64_t weight_bytes(const ModelSpec& spec, DType dtype) {
  return model_cost(spec).parameters * static_cast<std::int64_t>(size_of(dtype));
}

}  // namespace moebius
