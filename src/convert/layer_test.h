// The layer test: what each converted layer does to the model, measured on a prompt, in f32.
#pragma once

#include <atomic>

#include "convert/layer_record.h"
#include "convert/output_plan.h"

namespace moebius {

struct LayerTestResult {
  std::vector<LayerRecord> layers;
  double dense_exact = 0;
};

/// Tests `layers` of the output `after` in ascending order, beside those of `before`, the output in
/// which nothing is converted: each one on top of those accepted before it. A layer whose figures
/// are not finite, or whose KL exceeds `max_kl` (negative: no bound), is not kept.
LayerTestResult test_layers(const OutputPlan& before, const OutputPlan& after,
                            const std::vector<std::int64_t>& layers,
                            const std::vector<std::int32_t>& prompt_ids, double max_kl,
                            const Context& ctx);

}  // namespace moebius
