#include "train/trainable_model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace moebius {

TrainableModel::TrainableModel(Model& model, const std::string& train,
                               const std::vector<std::string>& groups, Precision precision)
    : computed(model) {
  if (precision != Precision::mixed) {
    parameters = trained_parameters(computed.weights, train, groups);
    return;
  }
  const at::Device device = model.weights.embed.plain().device();
  computed.weights = copy_weights(model.weights, at::kBFloat16, device);
  parameters = trained_parameters(computed.weights, train, groups);
  auto next = parameters.begin();  // which go as the weights do
  for_each_weight(
      [&](const std::string& slot, at::Tensor& master, at::Tensor& copy) {
        if (master.defined()) master.requires_grad_(false);
        if (is_buffer(slot)) copy = master;  // not trained by gradients: one tensor for both
        if (next != parameters.end() && next->name == slot) (next++)->master = master;
      },
      model.weights, computed.weights);
}

void TrainableModel::refresh(const Model& model) {
  const at::NoGradGuard no_grad;
  for_each_weight(
      [](const std::string&, at::Tensor& copy, const at::Tensor& from) {
        if (copy.defined() && !copy.is_same(from)) copy.copy_(from);
      },
      computed.weights, model.weights);
}

}  // namespace moebius
