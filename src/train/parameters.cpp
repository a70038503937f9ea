#include "train/parameters.h"

#include <ATen/ATen.h>

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "config/families.h"

namespace moebius {
namespace {

bool selected(const std::string& slot, const std::string& train) {
  if (train == "all") return true;
  if (train == "router") return is_router(slot);
  if (train == "experts") return slot.find(".moe.experts.") != std::string::npos;
  return matches(train, slot);
}

std::string trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(' '), end = text.find_last_not_of(' ');
  return begin == text.npos ? std::string() : std::string(text.substr(begin, end - begin + 1));
}

[[noreturn]] void fail_group(const std::string& text, std::string_view why) {
  throw UsageError(fmt::format("--group \"{}\": {}", text, why),
                   "write it as \"layers.0.*: lr=0.1 decay=0\"");
}

double number_of(const std::string& group, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) ||
      value < 0) {
    fail_group(group, fmt::format("{} is not a number from 0 on", text));
  }
  return value;
}

}  // namespace

ParameterGroup ParameterGroup::parse(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == text.npos) fail_group(text, "no colon after the pattern");
  ParameterGroup group{.pattern = trimmed(std::string_view(text).substr(0, colon)), .decay = {}};
  if (group.pattern.empty()) fail_group(text, "no pattern before the colon");
  std::string_view rest = std::string_view(text).substr(colon + 1);
  bool any = false;
  while (!trimmed(rest).empty()) {
    rest.remove_prefix(rest.find_first_not_of(' '));
    const std::string_view word = rest.substr(0, rest.find(' '));
    rest.remove_prefix(word.size());
    if (word.starts_with("lr=")) {
      group.lr_factor = number_of(text, word.substr(3));
    } else if (word.starts_with("decay=")) {
      group.decay = number_of(text, word.substr(6));
    } else {
      fail_group(text, fmt::format("unknown {}", word));
    }
    any = true;
  }
  if (!any) fail_group(text, "neither lr= nor decay=");
  return group;
}

bool is_router(const std::string& slot) {
  return slot.find(".moe.router.") != std::string::npos;
}

std::vector<Parameter> select_parameters(Weights& weights, const std::string& train) {
  std::vector<Parameter> chosen;
  for_each_weight(
      [&](const std::string& slot, Weight& weight) {
        if (!weight.defined()) return;
        const bool trains = selected(slot, train) && !is_buffer(slot);
        weight.plain().requires_grad_(trains);
        const bool decays = !slot.ends_with(".bias") && !slot.ends_with(".scale") &&
                            slot.find("norm") == std::string::npos;
        if (trains) chosen.push_back({slot, weight.plain(), decays});
      },
      weights);
  if (chosen.empty()) {
    throw Error(fmt::format("--train {}: no weight of this model matches", train),
                "all, router, experts, or a pattern such as layers.0.*");
  }
  return chosen;
}

void apply_groups(const std::vector<ParameterGroup>& groups, std::vector<Parameter>& parameters) {
  for (const ParameterGroup& group : groups) {
    bool any = false;
    for (Parameter& p : parameters) {
      if (!matches(group.pattern, p.name)) continue;
      p.lr_factor = group.lr_factor;
      p.decay = group.decay;
      any = true;
    }
    if (!any) {
      throw Error(fmt::format("--group {}: no weight that trains matches", group.pattern),
                  "a pattern such as layers.0.* or *.moe.router.weight");
    }
  }
}

std::vector<Parameter> trained_parameters(Weights& weights, const std::string& train,
                                          const std::vector<std::string>& groups) {
  std::vector<Parameter> parameters = select_parameters(weights, train);
  std::vector<ParameterGroup> parsed;
  for (const std::string& text : groups) parsed.push_back(ParameterGroup::parse(text));
  apply_groups(parsed, parameters);
  return parameters;
}

}  // namespace moebius
