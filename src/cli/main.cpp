// The table of commands, and one of the program's two catch blocks.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>

#include "base/mapping_guard.h"
#include "cli/command.h"

namespace moebius::cli {
namespace {

const std::vector<Command>& commands() {
  static const std::vector<Command> table{
      {"info", "what a model is and what it costs", run_info},
      {"convert", "dense model in, mixture of experts out", run_convert, true},
      {"export", "write a model as a GGUF file for llama.cpp", run_export},
      {"quantize", "pack a model's weights, smaller and ready to compute with", run_quantize, true},
      {"generate", "continue a text", run_generate},
      {"tokenize", "text to ids and back", run_tokenize},
      {"tokenizer train", "train a byte-level BPE tokenizer on a corpus", run_tokenizer_train},
      {"train", "train a model, dense or MoE, from scratch or on", run_train, true},
      {"eval", "perplexity, divergence from a reference, routing", run_eval},
      {"bench", "how fast a model generates, beside what the machine can do", run_bench, true},
      {"data synth", "write four synthetic text domains", run_data_synth},
      {"demo", "the whole way once, small: data, dense, MoE, a table", run_demo, true},
  };
  return table;
}

std::string usage() {
  std::string text =
      "moebius turns dense language models into mixtures of experts, trains and runs them.\n\n"
      "usage: moebius COMMAND [OPTIONS]      moebius COMMAND --help      moebius --version\n\n";
  for (const Command& command : commands()) {
    text += fmt::format("  {:<16} {}\n", command.name, command.summary);
  }
  return text;
}

/// The command that the first one or two words name; `used` says how many.
const Command* find_command(const std::vector<std::string>& arguments, std::size_t& used) {
  for (used = std::min<std::size_t>(2, arguments.size()); used > 0; --used) {
    const std::string name = used == 2 ? arguments[0] + " " + arguments[1] : arguments[0];
    for (const Command& command : commands()) {
      if (command.name == name) return &command;
    }
  }
  return nullptr;
}

/// OpenMP's threads wait for each other at the end of every parallel loop. By default they spin
/// there, in the way of the kernels' threads and of every other process. The policy is read when
/// the library is loaded, before anything of this program runs: so the program starts once more.
void let_openmp_threads_sleep(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("OMP_WAIT_POLICY", "passive", 1);
  ::execv("/proc/self/exe", argv);  // where that cannot be, they spin
}

void run(std::vector<std::string> arguments, char** argv) {
  if (arguments.empty()) throw UsageError("no command was given", "see moebius --help");
  if (arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    return print(usage());
  }
  if (arguments[0] == "--version") return print("moebius " MOEBIUS_VERSION "\n");
  std::size_t used = 0;
  const Command* command = find_command(arguments, used);
  if (command == nullptr) {
    std::vector<std::string> known;
    for (const Command& each : commands()) known.push_back(each.name);
    const std::string near = nearest_name(arguments[0], known);
    throw UsageError(fmt::format("unknown command {}", arguments[0]),
                     near.empty() ? "see moebius --help" : fmt::format("did you mean {}?", near));
  }
  if (command->computes_with_openmp) let_openmp_threads_sleep(argv);
  arguments.erase(arguments.begin(), arguments.begin() + static_cast<std::ptrdiff_t>(used));
  guard_mapped_files();
  try {
    command->run(*command, arguments);
  } catch (...) {
    check_mapped_files();  // what was read of a lost file is the consequence, not the cause
    throw;
  }
  check_mapped_files();
}

void report(const std::string& what, const std::string& hint) {
  const std::string line = hint.empty() ? what : fmt::format("{} ({})", what, hint);
  std::fprintf(stderr, "moebius: %s\n", printable(line).c_str());
}

int exit_code_of(const std::vector<std::string>& arguments, char** argv) {
  try {
    run(arguments, argv);
    return 0;
  } catch (const HelpShown&) {
    return 0;
  } catch (const UsageError& error) {
    report(error.what(), error.hint());
    return 2;
  } catch (const Error& error) {
    report(error.what(), error.hint());
    return 1;
  } catch (const Interrupted& stop) {
    report("stopped", "");
    return 128 + stop.signal();
  } catch (const std::filesystem::filesystem_error& error) {  // a loop of symbolic links, for one
    report(fmt::format("{}: {}", error.path1().string(), error.code().message()), "");
    return 1;
  } catch (const std::bad_alloc&) {
    report("out of memory", "");
    return 1;
  } catch (const std::exception& error) {
    const std::string text = error.what();  // the first line: libraries add stack traces below it
    report(text.substr(0, text.find('\n')), "");
    return 1;
  }
}

}  // namespace
}  // namespace moebius::cli

int main(int argc, char** argv) {
  // Output is flushed where it is written. LibTorch's static destructors would take a tenth of a
  // second to free what the system frees.
  std::_Exit(moebius::cli::exit_code_of({argv + 1, argv + argc}, argv));
}
