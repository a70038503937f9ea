#include "benchmark/random_model.h"

#include <ATen/ATen.h>

#include "base/dtype.h"
#include "base/random.h"

namespace moebius {

Model random_model(const ModelSpec& spec, std::uint64_t seed) {
  Model model{spec, make_weights<Weight>(spec)};
  const auto shapes = weight_shapes(spec);
  for_each_weight(
      [&](const std::string& slot, Weight& weight, const Shape& shape) {
        if (shape.empty()) return;
        const bool experts = shape.size() == 3;
        at::Tensor one = at::zeros(experts ? Shape{1, shape[1], shape[2]} : shape, at::kBFloat16);
        const bool matrix = shape.size() > 1;
        if (!matrix && slot.find("norm.weight") != std::string::npos) one.fill_(1.0);
        if (matrix && !slot.ends_with(".bias")) {
          const Random random(seed, stream_of(slot));
          const double width = 2 * 1.7320508 * spec.initializer_range;
          auto* values = static_cast<std::uint16_t*>(one.mutable_data_ptr());
          for (std::int64_t i = 0; i < one.numel(); ++i) {
            const double uniform = random.uniform(static_cast<std::uint64_t>(i));
            values[i] = f32_to_bf16(static_cast<float>(width * (uniform - 0.5)));
          }
        }
        weight = experts ? one.expand(shape) : one;
      },
      model.weights, shapes);
  return model;
}

std::vector<std::int32_t> random_ids(std::uint64_t seed, std::uint64_t stream, std::int64_t count,
                                     std::int64_t vocab) {
  Random random(seed, stream);
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<std::int32_t>(random.next_below(static_cast<std::uint64_t>(vocab))));
  }
  return ids;
}

}  // namespace moebius
