#include "quantize/run.h"

namespace moebius {

void QuantizeOptions::declare(OptionSet& options) {
  options.positional("MODEL", model,
                     "directory in Hugging Face layout, GGUF file, or org/name on the hub");
  options.add("out", out, "directory to write").required = true;
  options.choice("weights", weights, "what to pack as", {"f32", "bf16", "int8", "int4"});
  options.add("calibration", calibration,
              "text files, such as the model reads, for which codes are chosen (GPTQ)");
  options.add("calibration-tokens", calibration_tokens, "tokens of them that are read")
      .between(2, 1 << 20);
}

}  // namespace moebius
