// Commands that compute with LibTorch, run by the shared library that holds them.
#pragma once

#include "cli/command.h"

namespace moebius::cli {

/// Loads libmoebius.so, which stands beside the program, and lets it run a command. Throws Exit
/// with the code that it gives, or Error if it cannot be loaded.
[[noreturn]] void run_in_library(const Command& command, const Arguments& arguments);

/// Help and wrong usage are answered here, without LibTorch, whose loading takes 0.2 s.
template <class Job>
void check_and_run_in_library(const Command& command, const Arguments& arguments) {
  { const ParsedOptions<Job> checked(command, arguments); }
  run_in_library(command, arguments);
}

}  // namespace moebius::cli
