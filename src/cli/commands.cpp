#include "cli/commands.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <new>

#include "base/mapping_guard.h"

namespace moebius::cli {
namespace {

std::string usage(const std::vector<Command>& commands) {
  std::string text =
      "moebius turns dense language models into mixtures of experts, trains and runs them.\n\n"
      "usage: moebius COMMAND [OPTIONS]      moebius COMMAND --help      moebius --version\n\n";
  for (const Command& command : commands) {
    text += fmt::format("  {:<16} {}\n", command.name, command.summary);
  }
  return text;
}

/// The command that the first one or two words name; `used` says how many.
const Command* find_command(const std::vector<Command>& commands, const Arguments& arguments,
                            std::size_t& used) {
  for (used = std::min<std::size_t>(2, arguments.size()); used > 0; --used) {
    const std::string name = used == 2 ? arguments[0] + " " + arguments[1] : arguments[0];
    for (const Command& command : commands) {
      if (command.name == name) return &command;
    }
  }
  return nullptr;
}

[[noreturn]] void fail_unknown(const std::vector<Command>& commands, const std::string& name) {
  std::vector<std::string> known;
  for (const Command& each : commands) known.push_back(each.name);
  const std::string near = nearest_name(name, known);
  throw UsageError(fmt::format("unknown command {}", name),
                   near.empty() ? "see moebius --help" : fmt::format("did you mean {}?", near));
}

void run(const std::vector<Command>& commands, Arguments arguments) {
  if (arguments.empty()) throw UsageError("no command was given", "see moebius --help");
  if (arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    return print(usage(commands));
  }
  if (arguments[0] == "--version") return print("moebius " MOEBIUS_VERSION "\n");
  std::size_t used = 0;
  const Command* command = find_command(commands, arguments, used);
  if (command == nullptr) fail_unknown(commands, arguments[0]);
  arguments.erase(arguments.begin(), arguments.begin() + static_cast<std::ptrdiff_t>(used));
  guard_mapped_files();
  try {
    command->run(*command, arguments);
  } catch (const Exit&) {
    throw;
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

}  // namespace

std::vector<Command> command_table(const TorchCommands& torch) {
  return {
      {"info", "what a model is and what it costs", run_info},
      {"convert", "dense model in, mixture of experts out", torch.convert},
      {"export", "write a model as a GGUF file for llama.cpp", run_export},
      {"quantize", "pack a model's weights, smaller and ready to compute with", torch.quantize},
      {"generate", "continue a text", torch.generate},
      {"tokenize", "text to ids and back", run_tokenize},
      {"tokenizer train", "train a byte-level BPE tokenizer on a corpus", run_tokenizer_train},
      {"train", "train a model, dense or MoE, from scratch or on", torch.train},
      {"eval", "perplexity, divergence from a reference, routing", torch.eval},
      {"bench", "how fast a model generates, beside what the machine can do", torch.bench},
      {"data synth", "write four synthetic text domains", run_data_synth},
      {"demo", "data, a dense model, its conversion and training in minutes", torch.demo},
  };
}

int run_program(const std::vector<Command>& commands, Arguments arguments) noexcept {
  try {
    run(commands, std::move(arguments));
    return 0;
  } catch (const Exit& exit) {
    return exit.code;
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

}  // namespace moebius::cli
