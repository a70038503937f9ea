// The interface of inference backends: tokens of several sequences in, scores out. No tensors here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "base/memory.h"
#include "config/model_spec.h"
#include "infer/weight_options.h"
#include "kernels/panel_layout.h"
#include "moe/routing_recorder.h"

namespace moebius {

struct Model;
class Weight;
template <class T>
struct WeightsOf;

/// The KV cache of one sequence.
class SequenceCache {
 public:
  virtual ~SequenceCache() = default;
  /// Tokens whose keys and values are stored.
  std::int64_t length() const { return length_; }
  /// Drops all tokens from `length` on.
  virtual void truncate(std::int64_t length) = 0;
  /// A cache of the first `length` tokens of this one. Where the backend has pages, both share them
  /// by reference count, and the partial last page is copied when the new cache writes to it;
  /// elsewhere the tokens are copied.
  virtual std::unique_ptr<SequenceCache> fork(std::int64_t length) = 0;

 protected:
  std::int64_t length_ = 0;
};

/// After which tokens of a part the scores of the next token are wanted.
enum class Scores { none, last, all };

/// Tokens, at least one, that continue a sequence.
struct SequencePart {
  SequenceCache* cache = nullptr;
  std::span<const std::int32_t> ids;
  Scores scores = Scores::last;
};

/// A model on its device, ready to compute. For one thread at a time; caches must not outlive it.
class InferenceModel {
 public:
  virtual ~InferenceModel() = default;

  virtual const ModelSpec& spec() const = 0;
  virtual std::unique_ptr<SequenceCache> make_cache() = 0;

  /// Bytes of the cache of a sequence of `tokens` tokens that shares nothing.
  virtual std::int64_t cache_bytes(std::int64_t tokens) const = 0;
  /// Of them, bytes that a fork of `tokens` tokens shares with its source for good.
  virtual std::int64_t shared_bytes(std::int64_t tokens) const;
  /// Bytes that caches hold together; memory that several of them share counts once.
  virtual std::int64_t held_bytes(std::span<const SequenceCache* const> caches) const;
  /// Bytes to be allocated until `cache` has `tokens` tokens.
  virtual std::int64_t growth_bytes(const SequenceCache& cache, std::int64_t tokens) const;
  /// Free memory of the device for caches, in bytes.
  virtual std::int64_t memory_for_caches() const { return available_memory(); }

  virtual const WeightsOf<Weight>& weights() const = 0;
  /// Bytes of the weights in the form that is computed with.
  virtual std::int64_t weight_bytes() const = 0;
  /// The type of the weights: "f32", "bf16", "int8" or "int4".
  virtual std::string_view weights_name() const = 0;

  /// Computes the parts of several sequences in one pass; their caches grow. Returns the wanted
  /// scores [rows, V] in the order of the parts; they may be changed, and are valid until the next
  /// pass. Rows that the recorder is told of count tokens in the order of the parts. Throws Error
  /// for more tokens than the context.
  virtual std::span<float> run(std::span<const SequencePart> parts,
                               RoutingRecorder* recorder = nullptr) = 0;

  /// Scores after the last of `ids`, computed by scalar reference kernels or plain tensors in f32;
  /// slow.
  virtual std::vector<float> reference_scores(std::span<const std::int32_t> ids) = 0;

  /// To be called after scores that are not finite: throws Error that names the layer where a pass
  /// over `ids` first has NaN or infinity.
  [[noreturn]] virtual void fail_where_not_finite(std::span<const std::int32_t> ids) = 0;
};

/// Moves a model to its device and converts it to `options.weights`: f32, bf16, or int8 or int4 in
/// groups (`group_of`); by default the stored type (f16 becomes f32).
std::unique_ptr<InferenceModel> inference_of(Model model, const WeightOptions& options,
                                             const Context& ctx);
/// Opens a directory, of plain or packed weights, for `inference_of`.
std::unique_ptr<InferenceModel> open_for_inference(const std::filesystem::path& directory,
                                                   const WeightOptions& options,
                                                   const Context& ctx);

/// A model with weights packed as `type`, on the CPU. The KV cache is stored as `cache`, by default
/// f32 beside f32 weights and else bf16.
std::unique_ptr<InferenceModel> packed_inference(Model model, kernels::PackedType type, int threads,
                                                 std::optional<kernels::PackedType> cache = {});
/// Opens a directory of packed weights; `verify` compares their digests.
std::unique_ptr<InferenceModel> packed_inference(const std::filesystem::path& directory,
                                                 bool verify, int threads,
                                                 std::optional<kernels::PackedType> cache = {});
/// A model on its tensors, whatever their device: memory-mapped weights are read as they are
/// needed.
std::unique_ptr<InferenceModel> tensor_inference(Model model);

}  // namespace moebius
