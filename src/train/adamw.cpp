#include "train/adamw.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

namespace moebius {

AdamW::AdamW(std::vector<Parameter> parameters, const OptimizerOptions& options)
    : parameters_(std::move(parameters)), options_(options), count_(at::zeros({}, at::kFloat)) {
  for (const Parameter& p : parameters_) {
    moment1_.push_back(at::zeros_like(p.value));
    moment2_.push_back(at::zeros_like(p.value));
  }
}

void AdamW::update(bool decay, double lr, const std::vector<at::Tensor>& gradients) {
  std::vector<at::Tensor> values, grads, first, second, counts;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].decay != decay) continue;
    values.push_back(parameters_[i].value);
    grads.push_back(gradients[i]);
    first.push_back(moment1_[i]);
    second.push_back(moment2_[i]);
    counts.push_back(count_);
  }
  if (values.empty()) return;
  at::_fused_adamw_(values, grads, first, second, /*max_exp_avg_sqs=*/{}, counts, lr,
                    options_.beta1, options_.beta2, decay ? options_.weight_decay : 0.0,
                    options_.eps, /*amsgrad=*/false, /*maximize=*/false);
}

double AdamW::step(double lr) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients;
  double squares = 0;
  for (Parameter& p : parameters_) {
    const at::Tensor& grad = p.value.grad();
    gradients.push_back(grad.defined() ? grad : at::zeros_like(p.value));
    squares += gradients.back().square().sum(at::kDouble).item<double>();
  }
  const double norm = std::sqrt(squares);
  if (options_.clip > 0 && norm > options_.clip) {
    for (at::Tensor& grad : gradients) grad.mul_(options_.clip / (norm + 1e-6));
  }
  count_.add_(1.0);
  update(true, lr, gradients);
  update(false, lr, gradients);
  for (Parameter& p : parameters_) p.value.mutable_grad().reset();
  return norm;
}

std::vector<std::pair<std::string, at::Tensor>> AdamW::state() {
  std::vector<std::pair<std::string, at::Tensor>> out{{"adamw.steps", count_}};
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    out.emplace_back("adamw.moment1." + parameters_[i].name, moment1_[i]);
    out.emplace_back("adamw.moment2." + parameters_[i].name, moment2_[i]);
  }
  return out;
}

}  // namespace moebius
