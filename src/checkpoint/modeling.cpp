#include "checkpoint/modeling.h"

#include <fmt/format.h>

#include "checkpoint/modeling_template.h"

namespace moebius {
namespace {

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace

std::string modeling_code(const Family& family) {
  const auto quoted = [](std::string_view text) { return fmt::format("\"{}\"", text); };
  std::string code(modeling_template);
  code = replace_all(std::move(code), "LlamaConfig", family.config_class);
  code = replace_all(std::move(code), "LlamaForCausalLM", family.architecture);
  code = replace_all(std::move(code), quoted("model.layers"), quoted(family.layer_list));
  if (family.ffn_in_layer) {
    code = replace_all(std::move(code), "FFN_IN_LAYER = False", "FFN_IN_LAYER = True");
  }
  return replace_all(std::move(code), quoted("mlp"), quoted(family.ffn_module));
}

}  // namespace moebius
