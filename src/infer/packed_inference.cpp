#include <cmath>
#include <cstring>

#include "base/memory.h"
#include "infer/inference.h"
#include "model/cpu_ops.h"
#include "model/packed_file.h"

namespace moebius {
namespace {

using kernels::PackedType;

/// Pages that sequences take and give back.
class PagePool {
 public:
  explicit PagePool(std::int64_t bytes) : bytes_(bytes) {}

  /// Zero.
  std::byte* take() {
    if (free_.empty()) {
      // Pages at distances of a power of two would share few sets of a cache.
      constexpr std::int64_t apart = 16448;
      pages_.push_back(memory_.take(bytes_ + apart));
      free_.reserve(pages_.size());
      free_.push_back(pages_.back().get());
    }
    std::byte* page = free_.back();
    free_.pop_back();
    std::memset(page, 0, static_cast<std::size_t>(bytes_));
    return page;
  }
  void give(std::byte* page) { free_.push_back(page); }

 private:
  std::int64_t bytes_;
  MemoryBlocks memory_;
  std::vector<std::shared_ptr<std::byte>> pages_;
  std::vector<std::byte*> free_;
};

std::int64_t pages_of(std::int64_t tokens) {
  return (tokens + kernels::page_tokens - 1) / kernels::page_tokens;
}

class PagedCache : public SequenceCache {
 public:
  explicit PagedCache(PagePool& pool) : pool_(pool) {}
  ~PagedCache() override { truncate(0); }

  void truncate(std::int64_t length) override {
    length_ = std::min(length_, length);
    for (; std::ssize(pages_) > pages_of(length_); pages_.pop_back()) pool_.give(pages_.back());
  }
  /// What goes on with it needs room for `count` more tokens.
  CpuSequence next(std::int64_t count) {
    while (std::ssize(pages_) < pages_of(length_ + count)) pages_.push_back(pool_.take());
    return {pages_.data(), length_, count};
  }
  void advance(std::int64_t count) { length_ += count; }

 private:
  PagePool& pool_;
  std::vector<std::byte*> pages_;
};

class PackedInference : public InferenceModel {
 public:
  PackedInference(Model model, PackedType type, int threads, std::optional<PackedType> cache)
      : executor_(threads),
        model_(std::move(model), type, cache_type(type, cache), executor_),
        pool_(model_.page_bytes()) {}
  PackedInference(const fs::path& directory, bool verify, int threads,
                  std::optional<PackedType> cache)
      : executor_(threads),
        model_(open(directory, verify, cache, executor_)),
        pool_(model_.page_bytes()) {}

  const ModelSpec& spec() const override { return model_.spec; }
  std::unique_ptr<SequenceCache> make_cache() override {
    return std::make_unique<PagedCache>(pool_);
  }
  std::int64_t cache_bytes(std::int64_t tokens) const override {
    return pages_of(tokens) * model_.page_bytes();
  }
  const Weights& weights() const override { return model_.weights; }
  std::int64_t weight_bytes() const override { return model_.packed_bytes(); }
  std::string_view weights_name() const override {
    return name_of(model_.weights.head.packed()->shape().type);
  }

  std::span<float> run(std::span<const SequencePart> parts, RoutingSums* sums) override {
    return run_with(table_, parts, sums);
  }

  std::vector<float> reference_scores(std::span<const std::int32_t> ids) override {
    PagedCache cache(pool_);
    const SequencePart part{&cache, ids, Scores::last};
    const std::span<float> scores = run_with(*kernels::table_for("ref"), {&part, 1}, nullptr);
    return {scores.begin(), scores.end()};
  }

  [[noreturn]] void fail_where_not_finite(std::span<const std::int32_t> ids) override {
    pass_.reset();
    const Arena::Scope scope(arena_);
    PagedCache cache(pool_);
    const CpuSequence sequence = cache.next(std::ssize(ids));
    CpuOps ops(model_, {table_, executor_, arena_}, {&sequence, 1}, nullptr);
    graph::fail_where_not_finite(ops, model_.weights, ids);
  }

 private:
  static PackedType cache_type(PackedType weights, std::optional<PackedType> cache) {
    return cache.value_or(weights == PackedType::f32 ? PackedType::f32 : PackedType::bf16);
  }
  static CpuModel open(const fs::path& directory, bool verify, std::optional<PackedType> cache,
                       Executor& executor) {
    PackedModel packed = load_packed(directory, verify, executor);
    return CpuModel(std::move(packed.model), packed.type, cache_type(packed.type, cache), executor);
  }

  std::span<float> run_with(const kernels::KernelTable& table, std::span<const SequencePart> parts,
                            RoutingSums* sums) {
    pass_.reset();
    pass_.emplace(arena_);
    std::vector<CpuSequence> sequences;
    std::vector<std::int32_t> ids;
    for (const SequencePart& part : parts) {
      auto& cache = static_cast<PagedCache&>(*part.cache);
      const auto count = std::ssize(part.ids);
      check_context(cache.length() + count);
      sequences.push_back(cache.next(count));
      ids.insert(ids.end(), part.ids.begin(), part.ids.end());
    }
    CpuOps ops(model_, {table, executor_, arena_}, sequences, sums);
    const Rows hidden = graph::decode(ops, model_.weights, ids);
    for (const SequencePart& part : parts) {
      static_cast<PagedCache&>(*part.cache).advance(std::ssize(part.ids));
    }
    const Rows wanted = wanted_rows(hidden, parts);
    if (wanted.rows == 0) return {};
    const double divisor = model_.spec.logits_divisor;
    const Rows undivided = graph::head(ops, model_.weights, wanted);
    const Rows scores = divisor == 1.0 ? undivided : ops.scale(undivided, 1 / divisor);
    return {scores.data, static_cast<std::size_t>(scores.rows * scores.columns)};
  }

  void check_context(std::int64_t tokens) const {
    if (tokens > model_.spec.context) {
      fail("{} tokens, but the context is {}", tokens, model_.spec.context);
    }
  }

  /// Of the rows of all spans those whose scores are wanted, moved to the front.
  static Rows wanted_rows(const Rows& hidden, std::span<const SequencePart> parts) {
    Rows wanted = hidden.narrow(0, 0);
    std::int64_t row = 0;
    for (const SequencePart& part : parts) {
      const auto count = std::ssize(part.ids);
      const std::int64_t left_out = part.scores == Scores::all    ? 0
                                    : part.scores == Scores::last ? count - 1
                                                                  : count;
      for (std::int64_t i = left_out; i < count; ++i) {
        std::memmove(wanted.row(wanted.rows++), hidden.row(row + i),
                     static_cast<std::size_t>(hidden.columns) * sizeof(float));
      }
      row += count;
    }
    return wanted;
  }

  const kernels::KernelTable& table_ = kernel_table();
  Executor executor_;
  Arena arena_;
  std::optional<Arena::Scope> pass_;  ///< memory of the last one: its scores are still read
  CpuModel model_;
  PagePool pool_;
};

}  // namespace

std::unique_ptr<InferenceModel> packed_inference(Model model, PackedType type, int threads,
                                                 std::optional<PackedType> cache) {
  return std::make_unique<PackedInference>(std::move(model), type, threads, cache);
}

std::unique_ptr<InferenceModel> packed_inference(const fs::path& directory, bool verify,
                                                 int threads, std::optional<PackedType> cache) {
  return std::make_unique<PackedInference>(directory, verify, threads, cache);
}

}  // namespace moebius
