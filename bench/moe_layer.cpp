// The routed experts of a model's first MoE layer, forward and backward in bf16, beside products of
// all experts at once (at::_grouped_mm) and a loop over experts, in turns in one process.
//   moe_layer CONFIG_DIR [--way moebius|grouped_mm|loop] [--tokens 512] [--repeat 5]
//             [--device cuda] [--threads 2]
// Checks that all ways compute the same, and prints a row of a table for the one that is named or
// for each: TFLOP/s of medians, and their share of the dot product's peak.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "benchmark/limits.h"
#include "benchmark/random_model.h"
#include "benchmark/stopwatch.h"
#include "config/families.h"
#include "config/options.h"
#include "model/device.h"
#include "model/load.h"
#include "model/runtime.h"
#include "moe/moe.h"
#include "ops/linear.h"
#include "ops/tensor_memory.h"

namespace moebius {
namespace {

struct Layer {
  MoeSpec spec;
  Activation activation;
  Moe weights;
};

/// A model of this one layer and a small vocabulary.
Layer first_layer(ModelSpec spec, const Context& ctx) {
  std::erase_if(spec.layers, [](const LayerSpec& layer) { return !layer.moe; });
  if (spec.layers.empty()) fail("no layer is an MoE");
  spec.layers.resize(1);
  spec.vocab = 8;
  spec.layers[0].moe->shared_width = 0;
  spec.layers[0].moe->shared_gate = false;
  const Weights weights =
      copy_weights(random_model(spec, ctx.seed).weights, at::kBFloat16, device_of(ctx));
  Layer layer{*spec.layers[0].moe, spec.activation, *weights.layers[0].moe()};
  const Ffn& w = layer.weights.experts;
  for (const Weight& each : {w.gate, w.up, w.down}) {  // experts are still copies of one
    if (!each.defined()) continue;
    at::Tensor matrices = each.plain();
    const std::int64_t count = matrices.size(0);
    matrices.mul_(at::linspace(0.5, 1.5, count, matrices.options()).view({count, 1, 1}));
  }
  return layer;
}

at::Tensor fused(const at::Tensor& x_TD, const Layer& layer) {
  return moe_layer(x_TD, layer.weights, layer.spec, layer.activation).y_TD;
}

at::Tensor grouped(const at::Tensor& x_TD, const Layer& layer) {
  const Routing routing = route(x_TD, layer.weights.router, layer.spec, layer.activation);
  const Permutation permutation = permute(routing, layer.spec.experts);
  const at::Tensor y_ND =
      grouped_experts(x_TD, permutation, layer.weights.experts, layer.activation);
  return combine(y_ND, permutation, routing);
}

/// A loop over experts, each with the tokens that chose it, as in models before grouped GEMM.
at::Tensor loop(const at::Tensor& x_TD, const Layer& layer) {
  const Ffn& w = layer.weights.experts;
  const auto parts = [](const at::Tensor& t) {
    return t.defined() ? t.unbind() : std::vector<at::Tensor>{};
  };
  const auto product = [](const at::Tensor& x, const std::vector<at::Tensor>& matrices,
                          const std::vector<at::Tensor>& biases, std::size_t e) {
    return at::linear(x, matrices[e], biases.empty() ? at::Tensor() : biases[e]);
  };
  const auto gate = parts(w.gate), up = parts(w.up), down = parts(w.down);
  const auto gate_bias = parts(w.gate_bias), up_bias = parts(w.up_bias),
             down_bias = parts(w.down_bias);
  const Routing routing = route(x_TD, layer.weights.router, layer.spec, layer.activation);
  at::Tensor y_TD = at::zeros_like(x_TD);
  for (std::size_t e = 0; e < up.size(); ++e) {
    const auto places = at::where(routing.ids_TK == static_cast<std::int64_t>(e));
    if (places[0].numel() == 0) continue;
    const at::Tensor x = x_TD.index_select(0, places[0]);
    at::Tensor h = product(x, up, up_bias, e);
    h = gate.empty() ? ops::activate(h, layer.activation)
                     : ops::activate(product(x, gate, gate_bias, e), layer.activation) * h;
    const at::Tensor weight = routing.weights_TK.index({places[0], places[1]}).unsqueeze(1);
    const at::Tensor y = product(h, down, down_bias, e) * weight.to(h.scalar_type());
    y_TD = y_TD.index_add(0, places[0], y);
  }
  return y_TD;
}

/// Waits until OpenMP's threads stop spinning, some milliseconds after their work, which would
/// disturb a measurement.
std::function<kernels::Limits()> after_a_rest(std::function<kernels::Limits()> sample) {
  return [sample = std::move(sample)] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return sample();
  };
}

struct Way {
  std::string name;
  std::function<at::Tensor(const at::Tensor&, const Layer&)> forward;
  std::vector<Stretch> forward_times, backward_times;  ///< their `tokens` are FLOPs
};

class Measurement {
 public:
  Measurement(const ModelSpec& spec, std::int64_t tokens, const Context& ctx)
      : device_(device_of(ctx)),
        layer_(first_layer(spec, ctx)),
        watch_(after_a_rest(limit_sampler(ctx))) {
    const auto random = [&] {
      return at::randn({tokens, spec.d_model}, at::TensorOptions(at::kFloat))
          .to(device_, at::kBFloat16);
    };
    at::manual_seed(ctx.seed);
    x_TD_ = random().requires_grad_();
    dy_TD_ = random();
    const auto& [gate, up, down, gate_bias, up_bias, down_bias] = layer_.weights.experts;
    for (const Weight& w : {gate, up, down, gate_bias, up_bias, down_bias,
                            layer_.weights.router.weight, layer_.weights.router.bias}) {
      if (w.defined()) parameters_.push_back(w.plain().requires_grad_());
    }
    const double rows = static_cast<double>(tokens * layer_.spec.top_k);
    const double matrices = gate.defined() ? 3 : 2;
    flops_ = 2 * rows * matrices * static_cast<double>(spec.d_model * layer_.spec.width) +
             2 * static_cast<double>(tokens * spec.d_model * layer_.spec.experts);
  }

  /// Throws Error unless they all compute the same.
  void check() {
    const std::vector<at::Tensor> expected = results_of(ways_[0]);
    for (std::size_t w = 1; w < ways_.size(); ++w) {
      const std::vector<at::Tensor> found = results_of(ways_[w]);
      for (std::size_t i = 0; i < found.size(); ++i) {
        const at::Tensor right = expected[i].to(at::kFloat);
        const double off = ((found[i].to(at::kFloat) - right).norm() / right.norm()).item<double>();
        if (!(off < 0.03)) {
          fail("{}: result {} is {:.3g} off that of {}", ways_[w].name, i, off, ways_[0].name);
        }
      }
    }
  }

  /// Keeps one way, or all for an empty name.
  void choose(const std::string& name) {
    if (name.empty()) return;
    std::erase_if(ways_, [&](const Way& way) { return way.name != name; });
    if (ways_.empty()) throw UsageError(fmt::format("--way {}: unknown", name));
  }

  /// Times forward and backward of each way, and samples the limits in between.
  void round() {
    for (Way& way : ways_) {
      watch_.start();
      const at::Tensor y_TD = way.forward(x_TD_, layer_);
      wait();
      watch_.stop(flops_, way.forward_times);
      watch_.start();
      y_TD.backward(dy_TD_);
      wait();
      watch_.stop(2 * flops_, way.backward_times);
      forget();
    }
  }

  void print() const {
    for (const Way& way : ways_) {
      std::printf("| %s |", way.name.c_str());
      for (const std::vector<Stretch>* stretches : {&way.forward_times, &way.backward_times}) {
        std::vector<double> rates, shares;
        for (const Stretch& s : *stretches) {
          rates.push_back(s.tokens / s.seconds / 1e12);
          shares.push_back(s.tokens / s.seconds / 1e9 / s.limits.bf16_gflops);
        }
        const Figure rate = figure_of(rates);
        std::printf(" %.3g (%.3g-%.3g) | %.0f %% |", rate.median, rate.least, rate.most,
                    100 * figure_of(shares).median);
      }
      std::printf("\n");
    }
  }

 private:
  /// y and all gradients.
  std::vector<at::Tensor> results_of(const Way& way) {
    const at::Tensor y_TD = way.forward(x_TD_, layer_);
    y_TD.backward(dy_TD_);
    std::vector<at::Tensor> results{y_TD.detach(), x_TD_.grad()};
    for (const at::Tensor& p : parameters_) results.push_back(p.grad());
    forget();
    return results;
  }
  void wait() const {
    c10::impl::VirtualGuardImpl(device_.type()).getStream(device_).synchronize();
  }
  void forget() {
    x_TD_.mutable_grad().reset();
    for (at::Tensor& p : parameters_) p.mutable_grad().reset();
  }

  at::Device device_;
  Layer layer_;
  Stopwatch watch_;
  at::Tensor x_TD_, dy_TD_;
  std::vector<at::Tensor> parameters_;
  double flops_ = 0;
  std::vector<Way> ways_{{"moebius", fused}, {"grouped_mm", grouped}, {"loop", loop}};
};

void run(int count, char** arguments) {
  std::int64_t tokens = 512, repeat = 5, threads = std::thread::hardware_concurrency();
  std::string way;
  Context ctx;
  OptionSet options;
  options.add("way", way, "");
  options.add("tokens", tokens, "");
  options.add("repeat", repeat, "");
  options.add("device", ctx.device, "");
  options.add("threads", threads, "");
  if (count % 2 != 0) throw UsageError("usage: moe_layer CONFIG_DIR [--NAME VALUE ...]");
  for (int i = 2; i < count; i += 2) {
    const std::string_view name = arguments[i];
    Option* option = name.starts_with("--") ? options.find(name.substr(2)) : nullptr;
    if (option == nullptr) throw UsageError(fmt::format("unknown option {}", name));
    set_value(*option, {arguments[i + 1]});
  }
  if (tokens < 1 || repeat < 1) throw UsageError("--tokens and --repeat must be at least 1");
  ctx.threads = static_cast<int>(threads);
  const ComputeScope scope(ctx);
  const ops::KeptTensorMemory memory;
  Measurement measurement(read_model_spec(arguments[1]), tokens, ctx);
  measurement.check();
  measurement.choose(way);
  for (std::int64_t i = 0; i < repeat; ++i) measurement.round();
  measurement.print();
}

}  // namespace
}  // namespace moebius

int main(int count, char** arguments) {
  try {
    moebius::run(count, arguments);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "moe_layer: %s\n", error.what());
    return 1;
  }
}
