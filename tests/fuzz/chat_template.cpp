// A chat template and, behind a NUL, the variables that it is rendered with.
#include <nlohmann/json.hpp>

#include "fuzz/fuzz.h"
#include "text/jinja/template.h"

namespace moebius::fuzz {

void try_input(std::span<const std::byte> input) {
  static const Json conversation = parse_json(
      R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi é"},
          {"role": "assistant", "content": [{"type": "text", "text": "Yes?"}]}],
          "tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": [1, 2.5]}}}],
          "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true, "none": null})",
      "conversation");
  const std::string_view all = text_of(input), source = all.substr(0, all.find('\0'));
  const std::string_view rest = all.substr(std::min(source.size() + 1, all.size()));
  // A hundredth of what a user's template may take, so that many are tried in a second.
  const jinja::Limits limits{.steps = 200'000, .bytes = 4 << 20, .depth = 300};
  jinja::render(source, rest.empty() ? conversation : parse_json(rest, "variables"), limits);
}

}  // namespace moebius::fuzz
