#include <cstring>
#include <deque>
#include <memory>
#include <unordered_set>

#include "base/memory.h"
#include "infer/backends/inference_model.h"
#include "model/cpu_ops.h"
#include "model/packed_file.h"

namespace moebius {
namespace {

using kernels::PackedType;

class PagedCache;

/// Keys and values of `page_tokens` tokens of a sequence, of all layers. Several caches may refer
/// to a page. Its owner may append tokens in place, since the others see fewer; any other cache
/// copies a shared page before it writes.
struct Page {
  std::shared_ptr<std::byte> memory;
  std::int64_t references = 0;
  const PagedCache* owner = nullptr;
};

/// Pages of one model, which are allocated once and reused.
class PagePool {
 public:
  explicit PagePool(std::int64_t bytes) : bytes_(bytes) {}

  std::int64_t page_bytes() const { return bytes_; }
  /// A zeroed page with one reference.
  Page* take(const PagedCache* owner) {
    Page* page = allocate(owner);
    std::memset(page->memory.get(), 0, static_cast<std::size_t>(bytes_));
    return page;
  }
  /// A copy of `page` with one reference.
  Page* copy(const Page& page, const PagedCache* owner) {
    Page* to = allocate(owner);
    std::memcpy(to->memory.get(), page.memory.get(), static_cast<std::size_t>(bytes_));
    return to;
  }
  void release(Page* page, const PagedCache* user) {
    if (page->owner == user) page->owner = nullptr;
    if (--page->references == 0) free_.push_back(page);
  }

 private:
  Page* allocate(const PagedCache* owner) {
    if (free_.empty()) {
      // Pages at distances of a power of two would share few sets of a cache.
      constexpr std::int64_t padding = 16448;
      free_.reserve(pages_.size() + 1);
      free_.push_back(&pages_.emplace_back(memory_.take(bytes_ + padding)));
    }
    Page* page = free_.back();
    free_.pop_back();
    page->references = 1;
    page->owner = owner;
    return page;
  }

  std::int64_t bytes_;
  MemoryBlocks memory_;
  std::deque<Page> pages_;
  std::vector<Page*> free_;
};

std::int64_t pages_of(std::int64_t tokens) {
  return (tokens + kernels::page_tokens - 1) / kernels::page_tokens;
}

class PagedCache : public SequenceCache {
 public:
  explicit PagedCache(PagePool& pool) : pool_(pool) {}
  ~PagedCache() override { truncate(0); }

  void truncate(std::int64_t length) override {
    if (length >= length_) return;
    length_ = length;
    while (std::ssize(pages_) > pages_of(length_)) {
      pool_.release(pages_.back(), this);
      pages_.pop_back();
      data_.pop_back();
    }
    // What follows in the last page may be part of a fork.
    if (ends_within_page() && pages_.back()->references > 1 && pages_.back()->owner == this) {
      pages_.back()->owner = nullptr;
    }
  }
  std::unique_ptr<SequenceCache> fork(std::int64_t length) override {
    auto out = std::make_unique<PagedCache>(pool_);
    out->length_ = std::min(length, length_);
    for (std::int64_t p = 0; p < pages_of(out->length_); ++p) {
      Page* page = pages_[static_cast<std::size_t>(p)];
      ++page->references;
      out->push(page);
    }
    return out;
  }
  /// Makes room for `count` more tokens.
  CpuSequence next(std::int64_t count) {
    if (copies_last_page()) {
      Page* shared = pages_.back();
      pages_.back() = pool_.copy(*shared, this);
      data_.back() = pages_.back()->memory.get();
      pool_.release(shared, this);
    }
    if (ends_within_page()) pages_.back()->owner = this;
    while (std::ssize(pages_) < pages_of(length_ + count)) push(pool_.take(this));
    return {data_.data(), length_, count};
  }
  void advance(std::int64_t count) { length_ += count; }

  std::span<Page* const> pages() const { return pages_; }
  /// Whether the next token needs a copy of the last page.
  bool copies_last_page() const {
    return ends_within_page() && pages_.back()->references > 1 && pages_.back()->owner != this;
  }

 private:
  bool ends_within_page() const { return length_ % kernels::page_tokens != 0; }
  void push(Page* page) {
    pages_.push_back(page);
    data_.push_back(page->memory.get());
  }

  PagePool& pool_;
  std::vector<Page*> pages_;
  std::vector<std::byte*> data_;  ///< of the pages, as kernels read them
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
  std::int64_t shared_bytes(std::int64_t tokens) const override {
    return tokens / kernels::page_tokens * model_.page_bytes();
  }
  std::int64_t held_bytes(std::span<const SequenceCache* const> caches) const override {
    std::unordered_set<const Page*> pages;
    for (const SequenceCache* cache : caches) {
      const auto held = static_cast<const PagedCache*>(cache)->pages();
      pages.insert(held.begin(), held.end());
    }
    return std::ssize(pages) * model_.page_bytes();
  }
  std::int64_t growth_bytes(const SequenceCache& cache, std::int64_t tokens) const override {
    const auto& paged = static_cast<const PagedCache&>(cache);
    const std::int64_t pages = pages_of(tokens) - std::ssize(paged.pages());
    return (pages + (paged.copies_last_page() ? 1 : 0)) * model_.page_bytes();
  }
  const Weights& weights() const override { return model_.weights; }
  std::int64_t weight_bytes() const override { return model_.packed_bytes(); }
  std::string_view weights_name() const override {
    return name_of(model_.weights.head.packed()->shape().type);
  }

  std::span<float> run(std::span<const SequencePart> parts, RoutingRecorder* recorder) override {
    return run_with(table_, parts, recorder);
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
                            RoutingRecorder* recorder) {
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
    CpuOps ops(model_, {table, executor_, arena_}, sequences, recorder);
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

  /// The rows of all parts whose scores are wanted, moved to the front of `hidden`.
  static Rows wanted_rows(const Rows& hidden, std::span<const SequencePart> parts) {
    Rows wanted = hidden.narrow(0, 0);
    std::int64_t row = 0;
    for (const SequencePart& part : parts) {
      const auto count = std::ssize(part.ids);
      const std::int64_t skipped = part.scores == Scores::all    ? 0
                                   : part.scores == Scores::last ? count - 1
                                                                 : count;
      for (std::int64_t i = skipped; i < count; ++i) {
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
  std::optional<Arena::Scope> pass_;  ///< memory of the last pass: its scores are still read
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
