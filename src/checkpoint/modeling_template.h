#pragma once

#include <string_view>

namespace moebius {

/// Text of modeling_moebius.py of this folder, embedded at build time.
extern const std::string_view modeling_template;

}  // namespace moebius
