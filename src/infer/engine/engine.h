// Generates several sequences at once with one model. No tensors here.
#pragma once

#include <list>
#include <map>
#include <optional>

#include "infer/backends/inference_model.h"
#include "infer/engine/request.h"
#include "infer/engine/sampler.h"

namespace moebius {

struct EngineOptions {
  std::int64_t cache_bytes = 0;        ///< limit of all KV caches; 0: 9/10 of the free memory
  std::int64_t tokens_per_pass = 512;  ///< prompt tokens, beside the tokens of running sequences
  std::size_t kept_sequences = 4;      ///< finished sequences whose KV caches are kept for reuse
};

/// Serves requests. Each step is one pass of the model over a token of every running sequence and
/// as many prompt tokens as fit (continuous batching, chunked prefill).
///
/// A prompt that begins with the tokens of a running or kept sequence shares its KV cache as far as
/// they agree. If another request is just computing at least a page of these tokens, or the whole
/// prompt, the new request waits for them. For one thread at a time; requests may be added and
/// cancelled between any two steps.
class Engine {
 public:
  explicit Engine(std::unique_ptr<InferenceModel> model, const EngineOptions& options = {});

  InferenceModel& model() { return *model_; }
  const ModelSpec& spec() const { return model_->spec(); }

  /// Queues a request and returns its number. Throws Error for a prompt that does not fit the
  /// context or whose KV cache would exceed the limit; UsageError for sampling parameters out of
  /// range.
  std::int64_t add(GenerationRequest request);
  /// Runs one pass and returns the new tokens, in order within a request; none where the pass was
  /// all prompt. Failed requests come last.
  std::vector<NewToken> step();
  /// Ends a request. One that is unknown or already over is ignored.
  void cancel(std::int64_t request);
  bool idle() const { return waiting_.empty() && running_.empty(); }

  /// Bytes of KV caches: allocated ones, shared memory once, and what running requests may still
  /// allocate.
  std::int64_t bytes_in_use() const;

 private:
  struct Sequence {
    GenerationRequest request;      ///< its prompt is moved to `ids`
    std::vector<std::int32_t> ids;  ///< prompt and new tokens
    Sampler sampler;
    std::int64_t left = 0;                 ///< tokens that may still come
    std::unique_ptr<SequenceCache> cache;  ///< of a running one
    std::int64_t cached = 0;
    std::vector<std::int32_t> drafted;  ///< input of the pass: the last token and drafts after it

    std::span<const std::int32_t> to_compute() const;
    /// Length with all tokens that may still come.
    std::int64_t max_length() const { return std::ssize(ids) + left; }
  };
  /// A finished sequence: the tokens of its cache.
  struct Kept {
    std::unique_ptr<SequenceCache> cache;
    std::vector<std::int32_t> ids;
  };
  using KeptList = std::list<Kept>;
  /// Where the beginning of a prompt is computed already, or soon.
  struct PrefixSource {
    std::int64_t computed = 0;  ///< tokens in common that have keys and values
    std::int64_t expected = 0;  ///< tokens in common, with those that a running prompt will compute
    std::optional<KeptList::iterator> kept;
    Sequence* running = nullptr;
  };
  /// The rows of a pass whose scores belong to a request.
  struct Wanted {
    std::int64_t request = 0;
    std::int64_t first_row = 0;  ///< among the tokens of the pass
    std::int64_t count = 0;
  };

  std::int64_t bytes_of_running() const;
  std::int64_t growth_of_running() const;
  void admit();
  PrefixSource find_prefix(const Sequence& sequence);
  void start(std::int64_t number, const PrefixSource& source);
  /// Removes a sequence and keeps its cache for reuse.
  void retire(std::int64_t number);
  void add_parts(std::vector<SequencePart>& parts, std::vector<Wanted>& wanted);
  /// Adds the tokens that the score rows of one request give; drafts are accepted as long as they
  /// equal the chosen tokens. False if scores are not finite.
  bool choose_tokens(const Wanted& wanted, std::span<float> scores, const RoutingRecorder* recorder,
                     std::vector<NewToken>& tokens);
  NewToken choose(std::int64_t number, Sequence& sequence, std::span<float> scores_V);
  NewToken fail_request(std::int64_t number);

  std::unique_ptr<InferenceModel> model_;
  EngineOptions options_;
  std::int64_t next_ = 0;
  std::map<std::int64_t, Sequence> waiting_, running_;
  KeptList kept_;         ///< the most recently used first
  bool blocked_ = false;  ///< the next waiting request needs memory of a running one
};

}  // namespace moebius
