// What `generate` shares between its ways to be used.
#pragma once

#include "cli/command.h"
#include "infer/run.h"

namespace moebius::cli {

Json to_json(const Generation& generation);
/// A conversation over standard input and output, until the input ends.
void converse(const GenerateOptions& job, const Context& ctx, bool json);

}  // namespace moebius::cli
