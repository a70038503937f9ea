// A config.json: the model that it describes, the tensors that such a model is stored as, its cost.
#include <nlohmann/json.hpp>

#include "config/families.h"
#include "fuzz/fuzz.h"

namespace moebius::fuzz {

void try_input(std::span<const std::byte> input) {
  const ModelSpec spec = parse_model_spec(parse_json(text_of(input), "input"), "input");
  file_layout(spec);
  model_cost(spec);
}

}  // namespace moebius::fuzz
