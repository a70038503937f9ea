#include "demo/demo.h"

namespace moebius {

void DemoOptions::declare(OptionSet& options) {
  options.add("model", model, "start from this checkpoint (default: train a small model)");
  options.add("out", out, "directory to write");
  options.add("minutes", minutes, "time that training and measuring of --model may take")
      .at_least(0);
  options.add("samples", samples, "samples a domain").at_least(2);
  options.add("dense-steps", dense_steps, "steps of the small dense model").at_least(1);
  options.add("steps", steps, "steps that dense and MoE are trained on for");
  options.add("experts", experts, "experts of a converted layer").at_least(1);
  options.add("top-k", top_k, "experts that a token is routed to").at_least(1);
  options.add("every", every, "convert every n-th layer").at_least(1);
}

}  // namespace moebius
