// What every command shares: parsing from one declaration, the context, the result.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/json.h"
#include "config/options.h"

namespace moebius::cli {

/// A row of the table of commands in main.cpp.
struct Command {
  std::string name;  ///< may be two words, as "data synth"
  std::string summary;
  void (*run)(const Command& self, const std::vector<std::string>& arguments);
  bool computes_with_openmp = false;  ///< LibTorch's threads, beside those of the kernels
};

/// Thrown after help was printed: nothing is left to do.
struct HelpShown {};

/// Declares the common options beside the others, parses `arguments` and the `--config` file, sets
/// threads, and gives the context. Throws UsageError, or HelpShown after `--help`.
Context begin(const Command& command, const std::vector<std::string>& arguments, OptionSet& options,
              CommonOptions& common);

/// After a signal that asked to stop: the program goes on.
void forget_stop_signal();

/// Writes to stdout; throws Error if that fails (a full disk, for example).
void print(std::string_view text);
/// One JSON object and a newline on stdout.
void print_json(const Json& json);

void run_bench(const Command&, const std::vector<std::string>&);
void run_convert(const Command&, const std::vector<std::string>&);
void run_data_synth(const Command&, const std::vector<std::string>&);
void run_demo(const Command&, const std::vector<std::string>&);
void run_eval(const Command&, const std::vector<std::string>&);
void run_export(const Command&, const std::vector<std::string>&);
void run_generate(const Command&, const std::vector<std::string>&);
void run_info(const Command&, const std::vector<std::string>&);
void run_quantize(const Command&, const std::vector<std::string>&);
void run_tokenize(const Command&, const std::vector<std::string>&);
void run_tokenizer_train(const Command&, const std::vector<std::string>&);
void run_train(const Command&, const std::vector<std::string>&);

}  // namespace moebius::cli
