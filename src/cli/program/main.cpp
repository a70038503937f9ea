// The program: without LibTorch, which only the shared library is linked with.
#include <cstdlib>

#include "benchmark/benchmark.h"
#include "cli/commands.h"
#include "cli/program/load_library.h"
#include "convert/convert.h"
#include "demo/demo.h"
#include "eval/evaluate.h"
#include "infer/generate.h"
#include "quantize/run.h"
#include "train/train_options.h"

int main(int argc, char** argv) {
  using namespace moebius;
  using namespace moebius::cli;
  const int code = run_program(command_table({.convert = check_and_run_in_library<ConvertOptions>,
                                              .quantize = check_and_run_in_library<QuantizeOptions>,
                                              .generate = check_and_run_in_library<GenerateOptions>,
                                              .train = check_and_run_in_library<TrainOptions>,
                                              .eval = check_and_run_in_library<EvalOptions>,
                                              .bench = check_and_run_in_library<BenchOptions>,
                                              .demo = check_and_run_in_library<DemoOptions>}),
                               {argv + 1, argv + argc});
  // Output is flushed where it is written. LibTorch's static destructors would take a tenth of a
  // second to free what the system frees.
  std::_Exit(code);
}
