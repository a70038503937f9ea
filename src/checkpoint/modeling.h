#pragma once

#include <string>

#include "config/families.h"

namespace moebius {

/// Text of the modeling_moebius.py that goes with an overlay of this family: the file of that name
/// beside this one, which is written for Llama, with the family's classes and paths put in.
std::string modeling_code(const Family& family);

}  // namespace moebius
