// YAML files whose keys are options.
#pragma once

#include <yaml-cpp/yaml.h>

#include <span>
#include <string>
#include <string_view>

#include "config/options.h"

namespace moebius {

/// Throws UsageError naming the file and line of what is no YAML.
YAML::Node load_yaml(const fs::path& file);

/// "FILE:LINE" of a node.
std::string yaml_place(const fs::path& file, const YAML::Node& node);

/// The plain values of a list, or the one plain value. Throws UsageError beginning with `where`.
std::vector<std::string> yaml_values(const YAML::Node& node, const std::string& where);

/// Sets the options that `map` names and that were not given before; keys among `others` are
/// somebody else's. Throws UsageError naming the file and line on an unknown or repeated key, or a
/// value of the wrong type.
void apply_yaml(const YAML::Node& map, const fs::path& file, OptionSet& options,
                std::span<const std::string_view> others = {});

}  // namespace moebius
