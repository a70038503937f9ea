#include "cli/jobs/generate.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"

namespace moebius::cli {
namespace {

/// As in OpenAI's completions.
Json to_json(const TokenLogProbs& log_probs) {
  Json top = Json::array();
  for (const auto& tokens : log_probs.top_logprobs) {
    Json& entry = top.emplace_back(Json::object());
    for (const auto& [token, log_prob] : tokens) entry.emplace(token, log_prob);
  }
  return {{"tokens", log_probs.tokens},
          {"token_logprobs", log_probs.token_logprobs},
          {"top_logprobs", std::move(top)},
          {"text_offset", log_probs.text_offset}};
}

}  // namespace

Json to_json(const Generation& generation) {
  Json out;
  out["prompt"] = generation.prompt;
  out["text"] = generation.text;
  out["prompt_tokens"] = generation.prompt_tokens;
  out["cached_tokens"] = generation.cached_tokens;
  out["new_tokens"] = generation.new_tokens;
  out["finish_reason"] = name_of(generation.finish_reason);
  if (generation.log_probs) out["logprobs"] = to_json(*generation.log_probs);
  out["prefill_seconds"] = generation.prefill_seconds;
  out["decode_seconds"] = generation.decode_seconds;
  return out;
}

void run_generate(const Command& self, const Arguments& arguments) {
  const Invocation<GenerateOptions> call(self, arguments);
  const bool one = call.options.given("prompt"), many = call.options.given("prompts");
  if (one && many) throw UsageError("give either --prompt TEXT or --prompts FILE");
  if (call.options.given("logprobs") && !call.common.json) {
    throw UsageError("--logprobs needs --json");
  }
  if (!call.job.chat && !call.job.system.empty()) throw UsageError("--system needs --chat");
  if (call.job.chat && !one && !many) return converse(call.job, call.ctx, call.common.json);
  if (!one && !many) throw UsageError("give --prompt TEXT, --prompts FILE or --chat");
  // A newline ends each of several texts; a single one is printed as its bytes alone.
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  std::size_t current = 0;
  const auto results =
      generate(call.job, call.ctx, [&](std::size_t prompt, std::string_view piece) {
        if (call.common.json) return;
        for (; current < prompt; ++current) print("\n");
        print(piece);
      });
  if (!call.common.json) {
    if (many || terminal) print("\n");
  } else if (many) {
    Json all = Json::array();
    for (const Generation& each : results) all.push_back(to_json(each));
    print_json({{"results", all}});
  } else {
    print_json(to_json(results[0]));
  }
  const Generation& last = results.back();
  call.ctx.log.debug("{} prompt tokens in {:.3f} s, {} new tokens in {:.3f} s", last.prompt_tokens,
                     last.prefill_seconds, last.new_tokens, last.decode_seconds);
}

}  // namespace moebius::cli
