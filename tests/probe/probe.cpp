// Lets the tests in Python look behind the command line: logits, gradients and balance losses of a
// model on given ids, as the library computes them. Test-only; holds nothing of the product.
//   probe logits    MODEL IDS.json OUT.safetensors   tensor `logits` [B, S, V], f32
//   probe gradients MODEL IDS.json OUT.safetensors   d(mean next-token cross entropy)/d(weight),
//                                                    under the names of the checkpoint
//   probe routing   MODEL IDS.json OUT.safetensors   tensors `logits.N` [T, E] of MoE layer N
//   probe balance   MODEL IDS.json                   {"layer": x, "layers": [...], "pooled": x}
// IDS.json: {"ids": [[...], [...]]}, rows of one length.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/writer.h"
#include "hub/resolve.h"
#include "model/load.h"
#include "moe/training/balance_loss.h"

namespace moebius {
namespace {

at::Tensor read_ids(const fs::path& file) {
  const Json json = parse_json_file(file);
  const auto rows = json.at("ids").get<std::vector<std::vector<std::int64_t>>>();
  std::vector<at::Tensor> tensors;
  for (const auto& row : rows) {
    at::Tensor tensor = at::empty({static_cast<std::int64_t>(row.size())}, at::kLong);
    std::copy(row.begin(), row.end(), tensor.mutable_data_ptr<std::int64_t>());
    tensors.push_back(tensor);
  }
  return at::stack(tensors);
}

/// Writes f32 tensors into one file.
void write_tensors(const fs::path& file,
                   const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  const fs::path directory = file.string() + ".d";
  fs::create_directories(directory);
  std::vector<TensorMeta> metas;
  for (const auto& [name, tensor] : tensors) {
    metas.push_back({name, DType::f32, tensor.sizes().vec()});
  }
  ShardedWriter writer(directory, metas, SIZE_MAX);
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const at::Tensor whole = tensors[t].second.detach().to(at::kFloat).contiguous();
    writer.write(t, {static_cast<const std::byte*>(whole.const_data_ptr()), whole.nbytes()});
  }
  writer.finish();
  fs::rename(directory / "model.safetensors", file);
  fs::remove(directory);
}

void write_logits(const Model& model, const at::Tensor& ids, const fs::path& out) {
  const at::NoGradGuard no_grad;
  const DecoderOutput run = decode(model.spec, model.weights, ids, nullptr, at::kFloat);
  write_tensors(out, {{"logits", head(model.spec, model.weights, run.hidden)}});
}

void write_gradients(const Model& opened, const at::Tensor& ids, const fs::path& out) {
  Weights weights = copy_weights(opened.weights, at::kFloat, at::kCPU);
  for_each_weight(
      [](const std::string&, at::Tensor& weight) {
        if (weight.defined()) weight.requires_grad_(true);
      },
      weights);
  const std::int64_t length = ids.size(1) - 1;
  const DecoderOutput run =
      decode(opened.spec, weights, ids.narrow(1, 0, length), nullptr, at::kFloat);
  const at::Tensor logits = head(opened.spec, weights, run.hidden.flatten(0, 1));
  at::cross_entropy_loss(logits, ids.narrow(1, 1, length).flatten()).backward();
  auto gradients = make_weights<Weight>(opened.spec);
  for_each_weight(
      [](const std::string&, at::Tensor& gradient, const at::Tensor& weight) {
        if (!weight.defined()) return;
        gradient = weight.grad().defined() ? weight.grad() : at::zeros_like(weight);
      },
      gradients, weights);
  const fs::path directory = out.string() + ".d";
  fs::create_directories(directory);
  save_weights(opened.spec, gradients, DType::f32, directory, SIZE_MAX);
  fs::rename(directory / "model.safetensors", out);
  fs::remove(directory);
}

std::vector<Routing> routings_of(const Model& model, const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  return decode(model.spec, model.weights, ids, nullptr, at::kFloat).routings;
}

void write_routing(const Model& model, const at::Tensor& ids, const fs::path& out) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const Routing& routing : routings_of(model, ids)) {
    tensors.emplace_back(fmt::format("logits.{}", tensors.size()), routing.logits_TE);
  }
  write_tensors(out, tensors);
}

void print_balance(const Model& model, const at::Tensor& ids) {
  const std::vector<Routing> routings = routings_of(model, ids);
  Json layers = Json::array();
  for (const Routing& routing : routings) {
    layers.push_back(layer_balance_loss(routing).item<double>());
  }
  const Json json{{"layer", balance_loss(routings).item<double>()},
                  {"layers", layers},
                  {"pooled", pooled_balance_loss(routings).item<double>()}};
  std::printf("%s\n", json.dump().c_str());
}

void run(const std::vector<std::string>& arguments) {
  const std::string what = arguments.empty() ? "" : arguments[0];
  const std::size_t count = what == "balance" ? 3 : 4;
  if (arguments.size() != count) {
    throw UsageError(
        "probe logits|gradients|routing MODEL IDS.json OUT, or balance MODEL IDS.json");
  }
  const Context ctx;
  const fs::path directory = resolve_model(arguments[1], ModelParts::all, ctx);
  const Model model = load_model(directory, DType::f32, at::kCPU);
  const at::Tensor ids = read_ids(arguments[2]);
  if (what == "logits") return write_logits(model, ids, arguments[3]);
  if (what == "gradients") return write_gradients(model, ids, arguments[3]);
  if (what == "routing") return write_routing(model, ids, arguments[3]);
  if (what == "balance") return print_balance(model, ids);
  throw UsageError("probe: unknown command " + what);
}

}  // namespace
}  // namespace moebius

int main(int argc, char** argv) {
  try {
    moebius::run({argv + 1, argv + argc});
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "probe: %s\n", error.what());
    return 1;
  }
}
