// Several sequences at once through one model. No tensors here.
#pragma once

#include <exception>
#include <list>
#include <map>

#include "infer/inference.h"
#include "infer/run.h"
#include "infer/sampler.h"

namespace moebius {

struct EngineOptions {
  std::int64_t cache_bytes = 0;        ///< keys and values may take; 0: most of the free memory
  std::int64_t tokens_per_pass = 512;  ///< of prompts, beside one of each sequence that goes on
  std::size_t kept_sequences = 4;      ///< that are over and may be gone on with
};

/// A prompt, not empty, and how to go on. The text that comes depends neither on other requests nor
/// on how passes are cut.
struct Request {
  std::vector<std::int32_t> prompt;
  std::int64_t max_tokens = 0;  ///< at least 1; prompt and these must fit into the context
  SamplingOptions sampling;
  std::uint64_t seed = 0, stream = 0;
  std::vector<std::int32_t> stop_ids;
};

enum class Finish { none, stop, length, failed };

/// What a step gave to a request.
struct NewToken {
  std::int64_t request = 0;
  std::int32_t id = 0;
  Finish finish = Finish::none;  ///< `stop` where id is one of stop_ids
  std::exception_ptr error;  ///< of a request that failed: scores that are not finite, and where
};

/// Serves requests: each step is one pass of the model over a token of every running sequence and
/// as many of waiting prompts as fit. A sequence that is over is kept for a while, so that a prompt
/// that begins with it costs only its rest. For one thread at a time.
class Engine {
 public:
  explicit Engine(std::unique_ptr<InferenceModel> model, const EngineOptions& options = {});

  InferenceModel& model() { return *model_; }
  const ModelSpec& spec() const { return model_->spec(); }

  /// Its number. Throws Error for a prompt that does not fit into the context or whose keys and
  /// values would never fit into the cache; UsageError for sampling that makes no sense.
  std::int64_t add(Request request);
  /// The tokens that a pass gave; none where it was all prompt.
  std::vector<NewToken> step();
  /// Ends a request; one that is over already is left alone.
  void cancel(std::int64_t request);
  bool idle() const { return waiting_.empty() && running_.empty(); }

  /// Tokens of a running request whose keys and values were at hand when it began.
  std::int64_t cached_tokens(std::int64_t request) const;

 private:
  struct Sequence {
    std::vector<std::int32_t> ids;  ///< prompt and what came after
    Sampler sampler;
    std::int64_t left = 0;  ///< tokens that may still come
    std::vector<std::int32_t> stop_ids;
    std::unique_ptr<SequenceCache> cache;  ///< of a running one
    std::int64_t cached = 0;

    std::span<const std::int32_t> to_compute() const;
    /// With all that may still come.
    std::int64_t tokens() const { return std::ssize(ids) + left; }
  };
  struct Kept {
    std::unique_ptr<SequenceCache> cache;
    std::vector<std::int32_t> ids;
  };

  std::int64_t bytes_of(const Sequence& sequence) const;
  std::int64_t bytes_of_running() const;
  std::int64_t bytes_in_use() const;
  void admit();
  void find_cache(Sequence& sequence);
  void keep(Sequence& sequence);
  NewToken choose(std::int64_t number, std::span<float> scores);
  NewToken fail(std::int64_t number);

  std::unique_ptr<InferenceModel> model_;
  EngineOptions options_;
  std::int64_t next_ = 0;
  std::map<std::int64_t, Sequence> waiting_, running_;
  std::list<Kept> kept_;  ///< the last one first
};

}  // namespace moebius
