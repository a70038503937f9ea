#pragma once

#include <string_view>

namespace moebius {

/// Text of modeling_moebius.py as it lies beside this file; built in.
extern const std::string_view modeling_template;

}  // namespace moebius
