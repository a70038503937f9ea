#pragma once

#include <string_view>

namespace moebius {

/// Text of modeling_moebius.py, for Llama; built in from the file of that name beside this one.
extern const std::string_view modeling_template;

}  // namespace moebius
