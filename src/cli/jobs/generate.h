// Shared by the modes of `generate`.
#pragma once

#include "cli/command.h"
#include "infer/generate.h"

namespace moebius::cli {

Json to_json(const Generation& generation);
/// A conversation over standard input and output, until the input ends.
void converse(const GenerateOptions& job, const Context& ctx, bool json);

}  // namespace moebius::cli
