#include "infer/open_options.h"

namespace moebius {

void OpenOptions::declare(OptionSet& options) {
  options.positional("MODEL", model,
                     "directory in Hugging Face layout, GGUF file, or org/name on the hub");
  WeightOptions::declare(options);
}

}  // namespace moebius
