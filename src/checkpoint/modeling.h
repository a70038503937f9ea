#pragma once

#include <string>

#include "config/families.h"

namespace moebius {

/// Text of modeling_moebius.py for an overlay of this family: the file of that name in this folder,
/// which is written for Llama, with the family's classes and paths substituted.
std::string modeling_code(const Family& family);

}  // namespace moebius
