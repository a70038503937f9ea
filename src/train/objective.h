// What is minimised. The loop knows no more of a task than this; language modelling, preference
// training and the like differ in batches and loss alone.
#pragma once

#include <ATen/core/Tensor.h>

#include "base/json.h"
#include "data/token_batch.h"
#include "model/load.h"
#include "train/metrics.h"

namespace moebius {

class Objective {
 public:
  virtual ~Objective() = default;

  /// The next micro-batch. The order of batches is a function of the seed and of `state`.
  virtual TokenBatch draw() = 0;
  /// How much a micro-batch counts beside the others of its step: by default its total weight.
  virtual double weight(const TokenBatch& batch) const { return batch.total_weight(); }
  /// The loss that gradients flow from: a mean over the micro-batch. Adds its figures to `metrics`,
  /// `loss` among them, with the weight of the batch. Throws Error, naming the layer, if it is not
  /// finite.
  virtual at::Tensor loss(const Model& model, const TokenBatch& batch, Metrics& metrics) = 0;
  /// Called after every update, with the metrics of the whole step.
  virtual void after_step(Model& /*model*/, const Metrics& /*metrics*/) {}
  /// Figures on held-out data; none by default.
  virtual void evaluate(const Model& /*model*/, Metrics& /*metrics*/) {}

  /// What a checkpoint stores, so that `restore` goes on exactly there. `restore` throws Error
  /// naming what differs if the data or options are not those of the run that was stored.
  virtual Json state() const = 0;
  virtual void restore(const Json& state) = 0;
};

}  // namespace moebius
