#pragma once

#include <ATen/core/Tensor.h>

#include "train/adamw_options.h"
#include "train/optimizer.h"

namespace moebius {

/// AdamW (Loshchilov and Hutter, 2019). Its moments have the dtype of the master weight, or of the
/// parameter where there is none.
class AdamW : public Optimizer {
 public:
  AdamW(std::vector<Parameter> parameters, const AdamWOptions& options);

  void step(double lr, double gradient_scale) override;
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  std::vector<std::pair<std::string, at::Tensor>> state() override;

 private:
  void update(std::size_t parameter, double lr, double scale, const at::Tensor& gradient);

  std::vector<Parameter> parameters_;
  AdamWOptions options_;
  std::vector<at::Tensor> moment1_, moment2_;
  at::Tensor count_;  ///< f32 scalar on the CPU: steps done
};

}  // namespace moebius
