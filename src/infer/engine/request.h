// The parameters of one generation request, and the tokens that it is answered with. No tensors
// here.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "infer/engine/draft_source.h"
#include "moe/routing_recorder.h"

namespace moebius {

/// How the next token is chosen from the scores.
struct SamplingOptions {
  double temperature = 0.0;  ///< 0: the most probable token (greedy)
  std::int64_t top_k = 0;    ///< 0: no limit
  double top_p = 1.0;
  double repetition_penalty = 1.0;  ///< on tokens of prompt and text (Keskar, 2019); 1: none
};

/// One sequence to generate. Its tokens depend neither on other requests nor on how passes are cut.
/// A server fills one from the body of a call; the command line copies one for each prompt.
struct GenerationRequest {
  std::vector<std::int32_t> prompt;  ///< not empty
  std::int64_t max_tokens = 128;     ///< at least 1; prompt and new tokens must fit the context
  SamplingOptions sampling;
  std::uint64_t seed = 0,
                stream = 0;  ///< of random numbers; samples of one prompt differ in stream
  std::vector<std::int32_t> stop_ids;   ///< tokens that end the sequence
  std::vector<std::string> stop;        ///< texts that end it; `TextStream` finds them
  std::int64_t top_logprobs = 0;        ///< most probable alternatives to report for each new token
  bool report_experts = false;          ///< whether new tokens carry their experts
  std::shared_ptr<DraftSource> drafts;  ///< speculative decoding; null: one token per pass
  std::int64_t max_drafts = 4;          ///< drafted tokens per pass
};

enum class FinishReason { none, stop, length, failed };

/// As in the APIs of OpenAI: "stop", "length"; "" for none, "error" for failed.
std::string_view name_of(FinishReason reason);

struct TokenLogProb {
  std::int32_t id = 0;
  double log_prob = 0;
};

/// A token of a request.
struct NewToken {
  std::int64_t request = 0;
  std::int32_t id = 0;
  FinishReason finish = FinishReason::none;  ///< `stop` where id is one of stop_ids
  std::exception_ptr
      error;  ///< where finish is `failed`: the scores are not finite, and in which layer
  std::int64_t cached_tokens = 0;  ///< prompt tokens of the request taken from a KV cache
  /// ln of the token's probability by the model: softmax of the scores before repetition penalty,
  /// temperature, top-k and top-p.
  double log_prob = 0;
  std::vector<TokenLogProb> top;  ///< the most probable tokens by the same softmax, the best first
  /// If asked for: the experts in the computation of the scores that this token was chosen from,
  /// which is at the position before it.
  TokenExperts experts;
};

}  // namespace moebius
