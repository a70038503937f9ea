// The shared library's entry: all commands, those that compute with LibTorch included.
#include "cli/jobs/library.h"

#include "cli/commands.h"

__attribute__((visibility("default"))) int moebius_run(int count, const char* const* arguments) {
  using namespace moebius::cli;
  return run_program(command_table({.convert = run_convert,
                                    .quantize = run_quantize,
                                    .generate = run_generate,
                                    .train = run_train,
                                    .eval = run_eval,
                                    .bench = run_bench,
                                    .demo = run_demo}),
                     {arguments, arguments + count});
}
