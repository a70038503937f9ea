#include "convert/convert_options.h"

namespace moebius {

void LayerOptions::declare(OptionSet& options) {
  options.group("How a layer is converted");
  options.add("method", method,
              "upcycle: experts are copies; split: the neurons are divided; of a mixture "
              "expand: more experts; merge, prune: fewer");
  options.add("experts", experts, "experts of a converted layer, E").at_least(1);
  options.add("top-k", top_k, "experts that a token is routed to, K").at_least(1);
  options
      .add("granularity", granularity,
           "parts of a copy, each an expert of width F/G, chosen together")
      .at_least(1);
  options.add("shared", shared, "expert widths that every token passes, not counted in E")
      .at_least(0);
  options.add("noise", noise, "noise on every expert, times each matrix's standard deviation")
      .at_least(0);
  options.add("drop", drop, "share of each expert's neurons drawn anew (Drop-Upcycling)")
      .between(0, 1);
  options.add("partition", partition, "how a split divides the neurons");
  options.add("router", router, "how the router starts (default: random; of a split: linear)");
}

void ConvertOptions::declare(OptionSet& options) {
  options.positional("MODEL", model,
                     "model: directory in Hugging Face layout, GGUF file, or org/name on the hub");
  options.add("out", out, "directory to write").required = true;
  LayerOptions::declare(options);
  options.group("Which layers");
  options.add("every", every, "convert layers 0, n, 2n, ...").at_least(1);
  options.add("layers", layers, "convert these instead: 0,4,8-11 or all");
  options.add("plan", plan, "YAML file that says layer by layer how, and which prompts");
  options.group("Sources and calibration");
  options.add("source", sources, "models whose FFNs become experts beside MODEL's").many = true;
  options.add("rest", rest, "with --source, all else: MODEL's, or the average of all");
  options.add("calibration", calibration, "text files for a split, or a router of centroids");
  options.add("calibration-tokens", calibration_tokens, "tokens of them that are read")
      .between(2, 1 << 20);
  options.group("Output and test");
  options.choice("dtype", dtype, "of the output (default: as the source)", {"f32", "bf16", "f16"});
  options.choice("expert-layout", expert_layout,
                 "fused: experts in one 3-D tensor, as transformers 5 holds them; separate: one "
                 "tensor each (default: the family's usual one)",
                 {"fused", "separate"});
  options.add("dry-run", dry_run, "say what would come out, and write nothing");
  options.add("test-prompt", test_prompt, "text on which each converted layer is tested");
  options.add("max-kl", max_kl, "revert a layer beyond this KL, nats (default: no bound)");
  options.add("max-shard-size", max_shard_size, "largest weight file, as 5GB or 300MB");
}

}  // namespace moebius
