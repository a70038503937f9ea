#include "train/adamw.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "ops/cpu_kernels.h"
#include "train/pieces.h"

namespace moebius {

AdamW::AdamW(std::vector<Parameter> parameters, const AdamWOptions& options)
    : parameters_(std::move(parameters)), options_(options), count_(at::zeros({}, at::kFloat)) {
  for (const Parameter& p : parameters_) {
    const at::Tensor& like = p.master.defined() ? p.master : p.value;
    moment1_.push_back(at::zeros_like(like, at::MemoryFormat::Contiguous));
    moment2_.push_back(at::zeros_like(like, at::MemoryFormat::Contiguous));
  }
}

void AdamW::update(std::size_t parameter, double lr, double scale, const at::Tensor& gradient) {
  Parameter& p = parameters_[parameter];
  at::Tensor &first = moment1_[parameter], &second = moment2_[parameter];
  const double steps = count_.item<double>();
  const double decay = p.decay.value_or(p.decays ? options_.weight_decay : 0.0);
  lr *= p.lr_factor;
  if (!p.value.is_cpu() || !p.value.is_contiguous()) {
    at::Tensor& updated = p.master.defined() ? p.master : p.value;
    const at::Tensor scaled = gradient.to(updated.scalar_type()) * scale;
    at::_fused_adamw_({updated}, {scaled}, {first}, {second}, /*max_exp_avg_sqs=*/{},
                      {count_.to(updated.device())}, lr, options_.beta1, options_.beta2, decay,
                      options_.eps, /*amsgrad=*/false, /*maximize=*/false);
    if (p.master.defined()) p.value.copy_(p.master);
    return;
  }
  const at::Tensor flat = gradient.contiguous();
  const kernels::AdamWStep whole{
      .value = p.value.mutable_data_ptr(),
      .gradient = flat.const_data_ptr(),
      .m = first.mutable_data_ptr(),
      .v = second.mutable_data_ptr(),
      .master = p.master.defined() ? p.master.mutable_data_ptr<float>() : nullptr,
      .type = ops::value_type(p.value),
      .means = ops::value_type(first),
      .count = flat.numel(),
      .scale = static_cast<float>(scale),
      .rate = static_cast<float>(lr),
      .beta1 = static_cast<float>(options_.beta1),
      .beta2 = static_cast<float>(options_.beta2),
      .eps = static_cast<float>(options_.eps),
      .decay = static_cast<float>(decay),
      .bias1 = static_cast<float>(1 - std::pow(options_.beta1, steps)),
      .bias2 = static_cast<float>(1 - std::pow(options_.beta2, steps))};
  const ops::CpuKernels cpu;
  for_each_piece(cpu, flat, [&](std::int64_t begin, std::int64_t count, std::int64_t) {
    kernels::AdamWStep piece = whole;
    piece.value = kernels::at(whole.value, whole.type, begin);
    piece.gradient = kernels::at(whole.gradient, whole.type, begin);
    piece.m = kernels::at(whole.m, whole.means, begin);
    piece.v = kernels::at(whole.v, whole.means, begin);
    if (whole.master != nullptr) piece.master = whole.master + begin;
    piece.count = count;
    cpu->table.adamw(piece);
  });
}

void AdamW::step(double lr, double gradient_scale) {
  const at::NoGradGuard no_grad;
  count_.add_(1.0);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor& gradient = parameters_[i].value.mutable_grad();
    update(i, lr, gradient_scale,
           gradient.defined() ? gradient : at::zeros_like(parameters_[i].value));
    gradient.reset();
  }
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
