#include "infer/engine/engine.h"

#include <algorithm>
#include <bit>

#include "infer/engine/log_probs.h"
#include "kernels/kernels.h"

namespace moebius {
namespace {

bool all_finite(std::span<const float> values) {
  constexpr std::uint32_t exponent = 0x7F800000;
  std::uint32_t bad = 0;
  for (const float v : values) bad |= (std::bit_cast<std::uint32_t>(v) & exponent) == exponent;
  return bad == 0;
}

/// Length of the common prefix of `ids` and a prompt, whose last token always has to be computed:
/// its scores are wanted.
std::int64_t common_prefix(std::span<const std::int32_t> ids,
                           std::span<const std::int32_t> prompt) {
  const auto end = std::mismatch(ids.begin(), ids.end(), prompt.begin(), prompt.end() - 1);
  return end.first - ids.begin();
}

bool contains(const std::vector<std::int32_t>& ids, std::int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

std::span<const std::int32_t> Engine::Sequence::to_compute() const {
  return std::span(ids).subspan(static_cast<std::size_t>(cache->length()));
}

Engine::Engine(std::unique_ptr<InferenceModel> model, const EngineOptions& options)
    : model_(std::move(model)), options_(options) {
  if (options_.cache_bytes == 0) options_.cache_bytes = model_->memory_for_caches() / 10 * 9;
}

std::int64_t Engine::add(GenerationRequest request) {
  if (request.prompt.empty() || request.max_tokens < 1) fail("[engine] a request without tokens");
  Sequence sequence{.ids = std::move(request.prompt),
                    .sampler = Sampler(request.sampling, request.seed, request.stream),
                    .left = request.max_tokens};
  sequence.request = std::move(request);
  const std::int64_t length = sequence.max_length();
  if (length > spec().context) {
    throw Error(fmt::format("{} tokens of prompt and {} new ones, the model's context is {}",
                            sequence.ids.size(), sequence.left, spec().context),
                "shorten the prompt");
  }
  const auto mib = [](std::int64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; };
  const std::int64_t bytes = model_->cache_bytes(length);
  if (bytes > options_.cache_bytes) {
    throw Error(fmt::format("the KV cache of {} tokens needs {} MiB, the limit is {} MiB", length,
                            mib(bytes), mib(options_.cache_bytes)),
                "ask for fewer tokens, or shorten the prompt");
  }
  for (const std::int32_t id : sequence.ids) sequence.sampler.saw(id);
  waiting_.emplace(next_, std::move(sequence));
  return next_++;
}

// ---- Memory and prefixes ------------------------------------------------------------------------

std::int64_t Engine::growth_of_running() const {
  std::int64_t bytes = 0;
  for (const auto& [number, sequence] : running_) {
    bytes += model_->growth_bytes(*sequence.cache, sequence.max_length());
  }
  return bytes;
}

std::int64_t Engine::bytes_of_running() const {
  std::vector<const SequenceCache*> caches;
  for (const auto& [number, sequence] : running_) caches.push_back(sequence.cache.get());
  return model_->held_bytes(caches) + growth_of_running();
}

std::int64_t Engine::bytes_in_use() const {
  std::vector<const SequenceCache*> caches;
  for (const auto& [number, sequence] : running_) caches.push_back(sequence.cache.get());
  for (const Kept& each : kept_) caches.push_back(each.cache.get());
  return model_->held_bytes(caches) + growth_of_running();
}

Engine::PrefixSource Engine::find_prefix(const Sequence& sequence) {
  PrefixSource best;
  for (auto kept = kept_.begin(); kept != kept_.end(); ++kept) {
    const std::int64_t common = common_prefix(kept->ids, sequence.ids);
    if (common > best.computed) {
      best.computed = common;
      best.kept = kept;
    }
  }
  for (auto& [number, other] : running_) {
    const std::int64_t common = common_prefix(other.ids, sequence.ids);
    const std::int64_t computed = std::min(common, other.cache->length());
    if (other.to_compute().size() > 1) best.expected = std::max(best.expected, common);
    if (computed > best.computed) {
      best.computed = computed;
      best.kept.reset();
      best.running = &other;
    }
  }
  return best;
}

void Engine::admit() {
  if (blocked_) return;
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    const auto number = next->first;
    const Sequence& sequence = next->second;
    ++next;
    const PrefixSource source = find_prefix(sequence);
    const std::int64_t worth_waiting =
        std::min<std::int64_t>(kernels::page_tokens, std::ssize(sequence.ids) - 1);
    if (source.expected > source.computed && source.expected >= worth_waiting) continue;
    const std::int64_t shared = source.running ? model_->shared_bytes(source.computed) : 0;
    const std::int64_t needed = model_->cache_bytes(sequence.max_length()) - shared;
    if (bytes_of_running() + needed > options_.cache_bytes) {
      blocked_ = true;
      return;
    }
    start(number, source);
    while (bytes_in_use() > options_.cache_bytes && !kept_.empty()) kept_.pop_back();
  }
}

void Engine::start(std::int64_t number, const PrefixSource& source) {
  Sequence& sequence = running_.insert(waiting_.extract(number)).position->second;
  sequence.cached = source.computed;
  if (source.running != nullptr) {
    sequence.cache = source.running->cache->fork(source.computed);
  } else if (!source.kept) {
    sequence.cache = model_->make_cache();
  } else if (const auto kept = *source.kept; std::ssize(kept->ids) == source.computed) {
    sequence.cache = std::move(kept->cache);  // the new sequence serves later prompts as well
    kept_.erase(kept);
  } else {
    sequence.cache = kept->cache->fork(source.computed);
    kept_.splice(kept_.begin(), kept_, kept);
  }
}

void Engine::retire(std::int64_t number) {
  Sequence sequence = std::move(running_.extract(number).mapped());
  blocked_ = false;
  sequence.cache->truncate(std::min(sequence.cache->length(), std::ssize(sequence.ids) - 1));
  const std::int64_t computed = sequence.cache->length();
  if (computed == 0) return;
  sequence.ids.resize(static_cast<std::size_t>(computed));
  std::erase_if(kept_, [&](const Kept& kept) {  // prefixes of the new one
    return kept.ids.size() <= sequence.ids.size() &&
           std::equal(kept.ids.begin(), kept.ids.end(), sequence.ids.begin());
  });
  kept_.push_front({std::move(sequence.cache), std::move(sequence.ids)});
  if (kept_.size() > options_.kept_sequences) kept_.pop_back();
}

void Engine::cancel(std::int64_t request) {
  if (waiting_.erase(request) > 0) blocked_ = false;
  if (running_.contains(request)) retire(request);
}

// ---- Passes -------------------------------------------------------------------------------------

void Engine::add_parts(std::vector<SequencePart>& parts, std::vector<Wanted>& wanted) {
  std::int64_t row = 0;
  const auto add_part = [&](SequenceCache& cache, std::span<const std::int32_t> ids,
                            Scores scores) {
    parts.push_back({&cache, ids, scores});
    row += std::ssize(ids);
  };
  for (auto& [number, sequence] : running_) {
    if (sequence.to_compute().size() != 1) continue;
    sequence.drafted.assign(1, sequence.ids.back());
    DraftSource* drafts = sequence.request.drafts.get();
    const std::int64_t max = std::min(sequence.request.max_drafts, sequence.left - 1);
    if (drafts != nullptr && max > 0) {
      for (const std::int32_t id : drafts->propose(sequence.ids, max)) {
        if (id < 0 || id >= spec().vocab || std::ssize(sequence.drafted) > max) break;
        sequence.drafted.push_back(id);
      }
    }
    const std::int64_t count = std::ssize(sequence.drafted);
    wanted.push_back({number, row, count});
    add_part(*sequence.cache, sequence.drafted, count > 1 ? Scores::all : Scores::last);
  }
  std::int64_t room = options_.tokens_per_pass;
  for (auto& [number, sequence] : running_) {
    const auto ids = sequence.to_compute();
    if (ids.size() == 1 || room == 0) continue;
    const std::int64_t count = std::min(room, std::ssize(ids));
    const bool last = count == std::ssize(ids);
    if (last) wanted.push_back({number, row + count - 1, 1});
    add_part(*sequence.cache, ids.first(static_cast<std::size_t>(count)),
             last ? Scores::last : Scores::none);
    room -= count;
  }
}

std::vector<NewToken> Engine::step() {
  admit();
  std::vector<SequencePart> parts;
  std::vector<Wanted> wanted;
  add_parts(parts, wanted);
  if (parts.empty()) return {};
  const bool report_experts = std::any_of(running_.begin(), running_.end(), [](const auto& each) {
    return each.second.request.report_experts;
  });
  std::optional<RoutingRecorder> recorder;
  if (report_experts) recorder.emplace(RoutingRecorder::Records::experts);
  std::span<float> scores = model_->run(parts, recorder ? &*recorder : nullptr);
  std::vector<NewToken> tokens;
  std::vector<std::int64_t> failed;
  for (const Wanted& each : wanted) {
    const auto count = static_cast<std::size_t>(each.count * spec().vocab);
    const bool finite =
        choose_tokens(each, scores.first(count), recorder ? &*recorder : nullptr, tokens);
    if (!finite) failed.push_back(each.request);
    scores = scores.subspan(count);
  }
  for (const std::int64_t number : failed) tokens.push_back(fail_request(number));
  return tokens;
}

bool Engine::choose_tokens(const Wanted& wanted, std::span<float> scores,
                           const RoutingRecorder* recorder, std::vector<NewToken>& tokens) {
  Sequence& sequence = running_.at(wanted.request);
  const auto vocab = static_cast<std::size_t>(spec().vocab);
  for (std::int64_t row = 0; row < wanted.count; ++row) {
    const auto r = static_cast<std::size_t>(row);
    const std::span<float> scores_V = scores.subspan(r * vocab, vocab);
    if (!all_finite(scores_V)) return false;
    NewToken token = choose(wanted.request, sequence, scores_V);
    const std::int32_t id = token.id;
    const bool over = token.finish != FinishReason::none;
    if (sequence.request.report_experts) {
      token.experts = recorder->experts_of(wanted.first_row + row);
    }
    tokens.push_back(std::move(token));
    if (over) {
      retire(wanted.request);
      return true;
    }
    if (row + 1 == wanted.count || sequence.drafted[r + 1] != id) break;
  }
  sequence.cache->truncate(std::ssize(sequence.ids) - 1);  // drops rejected drafts
  return true;
}

NewToken Engine::choose(std::int64_t number, Sequence& sequence, std::span<float> scores_V) {
  const double log_sum = log_sum_exp(scores_V);
  NewToken token{.request = number, .cached_tokens = sequence.cached};
  if (const std::int64_t top = sequence.request.top_logprobs; top > 0) {
    token.top = top_log_probs(scores_V, log_sum, top);
  }
  std::vector<float> unchanged;  // the sampler may change scores
  if (sequence.request.sampling.repetition_penalty != 1.0) {
    unchanged.assign(scores_V.begin(), scores_V.end());
  }
  token.id = sequence.sampler.next(scores_V);
  const auto id = static_cast<std::size_t>(token.id);
  token.log_prob = (unchanged.empty() ? scores_V[id] : unchanged[id]) - log_sum;
  sequence.sampler.saw(token.id);
  sequence.ids.push_back(token.id);
  --sequence.left;
  if (contains(sequence.request.stop_ids, token.id)) {
    token.finish = FinishReason::stop;
  } else if (sequence.left == 0) {
    token.finish = FinishReason::length;
  }
  return token;
}

NewToken Engine::fail_request(std::int64_t number) {
  NewToken token{.request = number, .finish = FinishReason::failed};
  const std::vector<std::int32_t> ids = std::move(running_.at(number).ids);
  running_.erase(number);
  blocked_ = false;
  try {
    model_->fail_where_not_finite(ids);
  } catch (const Error&) {
    token.error = std::current_exception();
  }
  return token;
}

}  // namespace moebius
