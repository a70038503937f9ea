// The table of commands.
#pragma once

#include "cli/command.h"

namespace moebius::cli {

/// Commands that compute with LibTorch: the library (cli/jobs) runs them; the program checks
/// their options and loads the library (cli/program).
struct TorchCommands {
  using Run = void (*)(const Command& self, const Arguments& arguments);
  Run convert, quantize, generate, train, eval, bench, demo;
};

/// All commands in the order of the help.
std::vector<Command> command_table(const TorchCommands& torch);

/// Runs the command that `arguments` name, the program's name left out; reports errors on stderr.
/// Gives the exit code: 0 done, 1 the work failed, 2 wrong usage, 128 + N stopped by signal N.
int run_program(const std::vector<Command>& commands, Arguments arguments) noexcept;

void run_bench(const Command& self, const Arguments& arguments);
void run_convert(const Command& self, const Arguments& arguments);
void run_data_synth(const Command& self, const Arguments& arguments);
void run_demo(const Command& self, const Arguments& arguments);
void run_eval(const Command& self, const Arguments& arguments);
void run_export(const Command& self, const Arguments& arguments);
void run_generate(const Command& self, const Arguments& arguments);
void run_info(const Command& self, const Arguments& arguments);
void run_quantize(const Command& self, const Arguments& arguments);
void run_tokenize(const Command& self, const Arguments& arguments);
void run_tokenizer_train(const Command& self, const Arguments& arguments);
void run_train(const Command& self, const Arguments& arguments);

}  // namespace moebius::cli
