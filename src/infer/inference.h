// Models that are ready to generate and to be measured, on whatever device. No tensors here.
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
#include "moe/routing_sums.h"

namespace moebius {

struct Model;
class Weight;
template <class T>
struct WeightsOf;

/// Keys and values of one sequence.
class SequenceCache {
 public:
  virtual ~SequenceCache() = default;
  std::int64_t length() const { return length_; }
  /// Forgets all tokens from `length` on.
  virtual void truncate(std::int64_t length) = 0;

 protected:
  std::int64_t length_ = 0;
};

/// After which tokens scores of the next one are wanted.
enum class Scores { none, last, all };

/// Tokens, at least one, that go on with a sequence.
struct SequencePart {
  SequenceCache* cache = nullptr;
  std::span<const std::int32_t> ids;
  Scores scores = Scores::last;
};

class InferenceModel {
 public:
  virtual ~InferenceModel() = default;

  virtual const ModelSpec& spec() const = 0;
  virtual std::unique_ptr<SequenceCache> make_cache() = 0;
  /// Bytes that the cache of a sequence of so many tokens takes.
  virtual std::int64_t cache_bytes(std::int64_t tokens) const = 0;
  /// Bytes that can be had for caches where they lie.
  virtual std::int64_t memory_for_caches() const { return available_memory(); }
  virtual const WeightsOf<Weight>& weights() const = 0;
  /// Bytes of weights as they are computed with.
  virtual std::int64_t weight_bytes() const = 0;
  /// What they are computed with: "f32", "bf16", "int8" or "int4".
  virtual std::string_view weights_name() const = 0;

  /// Computes the parts of several sequences in one pass; their caches grow. Gives the scores
  /// [rows, V] that were wanted, which may be changed and live until the next pass. Adds to `sums`,
  /// unless that is null, what the routers did. Throws Error for more tokens than the context.
  virtual std::span<float> run(std::span<const SequencePart> parts,
                               RoutingSums* sums = nullptr) = 0;

  /// Scores after the last of `ids` by the plainest way there is to compute them, and a slow one.
  virtual std::vector<float> reference_scores(std::span<const std::int32_t> ids) = 0;

  /// After scores that are not finite: throws Error that names the layer where a pass over `ids`
  /// first meets NaN or infinity.
  [[noreturn]] virtual void fail_where_not_finite(std::span<const std::int32_t> ids) = 0;
};

/// Makes a model ready on its device, to compute with `options.weights`: as stored (f16 as f32), or
/// f32, bf16, or int8 or int4 in groups (`group_of`).
std::unique_ptr<InferenceModel> inference_of(Model model, const WeightOptions& options,
                                             const Context& ctx);
/// The same of a directory, which may hold packed weights.
std::unique_ptr<InferenceModel> open_for_inference(const std::filesystem::path& directory,
                                                   const WeightOptions& options,
                                                   const Context& ctx);

/// A model whose weights are packed as `type`, for the CPU. Keys and values are kept as `cache`,
/// by default in f32 beside weights in f32, else in bf16.
std::unique_ptr<InferenceModel> packed_inference(Model model, kernels::PackedType type, int threads,
                                                 std::optional<kernels::PackedType> cache = {});
/// The same of a directory that holds packed weights.
std::unique_ptr<InferenceModel> packed_inference(const std::filesystem::path& directory,
                                                 bool verify, int threads,
                                                 std::optional<kernels::PackedType> cache = {});
/// A model whose weights stay the tensors they are, wherever they lie: mapped files are read as
/// they are needed.
std::unique_ptr<InferenceModel> tensor_inference(Model model);

}  // namespace moebius
