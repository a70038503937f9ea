#include "infer/generate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>

#include "base/utf8.h"
#include "hub/resolve.h"
#include "infer/chat_format.h"
#include "infer/sampler.h"
#include "infer/stop_filter.h"
#include "model/device.h"

namespace moebius {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Scores of the token after `ids`, which are added to the cache.
at::Tensor step(const Model& model, std::span<const std::int32_t> ids, TokenCache& cache,
                at::ScalarType dtype, at::Device device) {
  const at::Tensor hidden =
      decode(model.spec, model.weights, ids_tensor(ids).to(device), &cache.keys_values, dtype)
          .hidden_BSD;
  cache.ids.insert(cache.ids.end(), ids.begin(), ids.end());
  return head(model.spec, model.weights, hidden.narrow(1, hidden.size(1) - 1, 1))
      .flatten()
      .to(at::kCPU)
      .contiguous();
}

/// Makes room for `capacity` tokens; grows by doubling, since a conversation goes on.
void ensure_capacity(const ModelSpec& spec, KvCache& cache, std::int64_t capacity,
                     const at::TensorOptions& options) {
  if (cache.capacity >= capacity) return;
  capacity = std::max(capacity, std::min(2 * cache.capacity, spec.context));
  KvCache larger = make_cache(spec, 1, capacity, options);
  larger.length = cache.length;
  for (std::size_t l = 0; l < cache.layers.size(); ++l) {
    const auto copy = [&](const at::Tensor& from, const at::Tensor& to) {
      to.narrow(2, 0, cache.length).copy_(from.narrow(2, 0, cache.length));
    };
    copy(cache.layers[l].k_BGSA, larger.layers[l].k_BGSA);
    copy(cache.layers[l].v_BGSA, larger.layers[l].v_BGSA);
  }
  cache = std::move(larger);
}

/// Forgets what `prompt` does not begin with; at least its last token stays to be computed.
void keep_common_prefix(TokenCache& cache, std::span<const std::int32_t> prompt) {
  const auto [end, other] =
      std::mismatch(cache.ids.begin(), cache.ids.end(), prompt.begin(), prompt.end() - 1);
  cache.ids.erase(end, cache.ids.end());
  cache.keys_values.length = static_cast<std::int64_t>(cache.ids.size());
}

std::vector<std::string> read_prompts(const fs::path& file) {
  const std::string content = read_file(file);
  check_utf8(content, file.string());
  std::vector<std::string> prompts;
  for (std::size_t at = 0; at < content.size();) {
    const std::size_t end = std::min(content.find('\n', at), content.size());
    prompts.push_back(content.substr(at, end - at));
    at = end + 1;
  }
  if (prompts.empty()) fail("{}: no prompt in it", file.string());
  return prompts;
}

}  // namespace

void GenerateOptions::declare(OptionSet& options) {
  options.positional("MODEL", model,
                     "directory in Hugging Face layout, GGUF file, or org/name on the hub");
  options.add("prompt", prompt, "text to continue; \"\" starts from BOS");
  options.add("prompts", prompts, "file with one prompt a line");
  options.add("chat", chat, "the prompt is what a user says; without prompt, a conversation");
  options.add("system", system, "with --chat: system message of the conversation");
  options.add("max-tokens", max_tokens, "new tokens at most");
  options.add("temperature", sampling.temperature, "0 takes the most probable token");
  options.add("top-k", sampling.top_k, "sample from the k most probable tokens, 0 from all");
  options.add("top-p", sampling.top_p, "sample from the fewest tokens of this probability");
  options.add("repetition-penalty", sampling.repetition_penalty,
              "divides scores of tokens that stood before, 1 for none");
  options.add("stop", stop, "end before this text; may be given several times");
  options.choice("weights", weights, "what to compute with (default: as stored)",
                 {"f32", "bf16", "int8", "int4"});
}

at::ScalarType compute_dtype(const Model& model) {
  const bool packed = model.weights.head.packed() != nullptr;
  const bool bf16 = model.weights.embed.plain().scalar_type() == at::kBFloat16;
  return bf16 && !packed ? at::kBFloat16 : at::kFloat;
}

void check_vocabulary(const ModelSpec& spec, const Tokenizer& tokenizer, const fs::path& model) {
  if (tokenizer.vocab_size() > spec.vocab) {
    fail("{}: the tokenizer has {} ids, the model's vocabulary {}", model.string(),
         tokenizer.vocab_size(), spec.vocab);
  }
}

void check_ids(const ModelSpec& spec, std::span<const std::int32_t> ids) {
  for (const std::int32_t id : ids) {
    if (id >= spec.vocab) fail("token {} is outside the model's vocabulary of {}", id, spec.vocab);
  }
}

std::vector<std::int32_t> prompt_ids(const ModelSpec& spec, const Tokenizer& tokenizer,
                                     std::string_view prompt) {
  std::vector<std::int32_t> ids = tokenizer.encode(prompt);
  if (ids.empty()) {
    if (!spec.bos) {
      throw Error("an empty prompt needs a BOS token, and this model has none", "give a --prompt");
    }
    ids.push_back(static_cast<std::int32_t>(*spec.bos));
  }
  check_ids(spec, ids);
  return ids;
}

Generation generate_one(const Model& model, const Tokenizer& tokenizer,
                        std::span<const std::int32_t> prompt, const GenerateOptions& options,
                        const Context& ctx, std::uint64_t stream,
                        const std::function<void(std::string_view)>& on_text, TokenCache* cache) {
  const at::InferenceMode inference;
  const ModelSpec& spec = model.spec;
  const auto prompt_tokens = static_cast<std::int64_t>(prompt.size());
  if (prompt_tokens >= spec.context) {
    throw Error(fmt::format("the prompt has {} tokens, the model's context is {}", prompt_tokens,
                            spec.context),
                "shorten the prompt");
  }
  const std::int64_t limit = std::min(options.max_tokens, spec.context - prompt_tokens);
  const at::ScalarType dtype = compute_dtype(model);
  const at::Device device = model.weights.embed.plain().device();
  TokenCache own;
  TokenCache& tokens = cache != nullptr ? *cache : own;
  keep_common_prefix(tokens, prompt);
  ensure_capacity(spec, tokens.keys_values, prompt_tokens + limit,
                  at::TensorOptions(dtype).device(device));
  Sampler sampler(options.sampling, ctx.seed, stream);
  for (const std::int32_t id : prompt) sampler.saw(id);
  StreamDecoder decoder(tokenizer, prompt);
  StopFilter filter(options.stop);

  Generation out;
  out.prompt_tokens = prompt_tokens;
  out.finish_reason = "length";
  const auto emit = [&](const std::string& piece) {
    if (piece.empty()) return;
    out.text += piece;
    on_text(piece);
  };
  const auto check = [&](const at::Tensor& logits) {
    check_finite_logits(logits, spec, model.weights, ids_tensor(tokens.ids).to(device), dtype);
  };
  const auto start = Clock::now();
  at::Tensor logits = step(model, prompt.subspan(tokens.ids.size()), tokens, dtype, device);
  check(logits);
  out.prefill_seconds = seconds_since(start);
  const auto decode_start = Clock::now();
  while (out.new_tokens < limit) {
    ctx.check_interrupt();
    const std::int32_t id =
        sampler.next({logits.mutable_data_ptr<float>(), static_cast<std::size_t>(logits.numel())});
    ++out.new_tokens;
    if (std::find(spec.eos.begin(), spec.eos.end(), id) != spec.eos.end()) {
      out.finish_reason = "stop";
      break;
    }
    sampler.saw(id);
    if (id < tokenizer.vocab_size()) emit(filter.push(decoder.push(id)));
    if (filter.stopped()) {
      out.finish_reason = "stop";
      break;
    }
    if (out.new_tokens == limit) break;
    logits = step(model, {&id, 1}, tokens, dtype, device);
    check(logits);
  }
  emit(filter.push(decoder.finish()));
  emit(filter.finish());
  out.decode_seconds = seconds_since(decode_start);
  return out;
}

OpenModel open_model(const GenerateOptions& options, const Context& ctx) {
  if (options.max_tokens < 1) {
    throw UsageError(fmt::format("--max-tokens {}: must be at least 1", options.max_tokens));
  }
  fs::path directory = resolve_model(options.model, ModelParts::all, ctx);
  Tokenizer tokenizer = Tokenizer::load(directory);
  Model model = load_for_inference(directory, options.weights, ctx);
  check_vocabulary(model.spec, tokenizer, options.model);
  return {std::move(directory), std::move(model), std::move(tokenizer)};
}

std::vector<Generation> generate(const GenerateOptions& options, const Context& ctx,
                                 const OnText& on_text) {
  OpenModel open = open_model(options, ctx);
  std::optional<ChatFormat> chat;
  if (options.chat) chat = ChatFormat::load(open.directory);
  if (chat) chat->add_end_of_turn(open);
  const std::vector<std::string> prompts =
      options.prompts.empty() ? std::vector{options.prompt} : read_prompts(options.prompts);
  std::vector<Generation> results;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const auto ids = chat ? chat->ids(open, options.system, prompts[p])
                          : prompt_ids(open.model.spec, open.tokenizer, prompts[p]);
    results.push_back(generate_one(open.model, open.tokenizer, ids, options, ctx, p,
                                   [&](std::string_view piece) { on_text(p, piece); }));
    results.back().prompt = prompts[p];
  }
  return results;
}

}  // namespace moebius
