#include "infer/engine.h"

#include <algorithm>
#include <bit>

namespace moebius {
namespace {

bool all_finite(std::span<const float> values) {
  constexpr std::uint32_t exponent = 0x7F800000;
  std::uint32_t bad = 0;
  for (const float v : values) bad |= (std::bit_cast<std::uint32_t>(v) & exponent) == exponent;
  return bad == 0;
}

}  // namespace

std::span<const std::int32_t> Engine::Sequence::to_compute() const {
  return std::span(ids).subspan(static_cast<std::size_t>(cache->length()));
}

Engine::Engine(std::unique_ptr<InferenceModel> model, const EngineOptions& options)
    : model_(std::move(model)), options_(options) {
  if (options_.cache_bytes == 0) options_.cache_bytes = model_->memory_for_caches() / 10 * 9;
}

std::int64_t Engine::bytes_of(const Sequence& sequence) const {
  return model_->cache_bytes(sequence.tokens());
}

std::int64_t Engine::add(Request request) {
  if (request.prompt.empty() || request.max_tokens < 1) {
    moebius::fail("[engine] a request without tokens");
  }
  Sequence sequence{.ids = std::move(request.prompt),
                    .sampler = Sampler(request.sampling, request.seed, request.stream),
                    .left = request.max_tokens,
                    .stop_ids = std::move(request.stop_ids)};
  if (sequence.tokens() > spec().context) {
    throw Error(fmt::format("{} tokens of prompt and {} new ones, the model's context is {}",
                            sequence.ids.size(), sequence.left, spec().context),
                "shorten the prompt");
  }
  const auto mib = [](std::int64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; };
  if (bytes_of(sequence) > options_.cache_bytes) {
    throw Error(fmt::format("keys and values of {} tokens need {} MiB, and there are {} MiB for "
                            "them",
                            sequence.tokens(), mib(bytes_of(sequence)), mib(options_.cache_bytes)),
                "ask for fewer tokens, or shorten the prompt");
  }
  for (const std::int32_t id : sequence.ids) sequence.sampler.saw(id);
  waiting_.emplace(next_, std::move(sequence));
  return next_++;
}

std::int64_t Engine::bytes_of_running() const {
  std::int64_t bytes = 0;
  for (const auto& [number, sequence] : running_) bytes += bytes_of(sequence);
  return bytes;
}

std::int64_t Engine::bytes_in_use() const {
  std::int64_t bytes = bytes_of_running();
  for (const Kept& each : kept_) bytes += model_->cache_bytes(each.cache->length());
  return bytes;
}

void Engine::admit() {
  while (!waiting_.empty()) {
    Sequence& next = waiting_.begin()->second;
    if (bytes_of_running() + bytes_of(next) > options_.cache_bytes) return;
    find_cache(next);
    running_.insert(waiting_.extract(waiting_.begin()));
    while (bytes_in_use() > options_.cache_bytes) kept_.pop_back();
  }
}

/// That of a sequence that is over and has most tokens in common, or a new one.
void Engine::find_cache(Sequence& sequence) {
  // At least the last token of the prompt is computed: its scores are wanted.
  const auto in_common = [&](const Kept& kept) {
    const auto end = std::mismatch(kept.ids.begin(), kept.ids.end(), sequence.ids.begin(),
                                   sequence.ids.end() - 1);
    return end.first - kept.ids.begin();
  };
  const auto best = std::max_element(kept_.begin(), kept_.end(), [&](const Kept& a, const Kept& b) {
    return in_common(a) < in_common(b);
  });
  if (best == kept_.end() || in_common(*best) == 0) {
    sequence.cache = model_->make_cache();
    return;
  }
  sequence.cached = in_common(*best);
  sequence.cache = std::move(best->cache);
  sequence.cache->truncate(sequence.cached);
  kept_.erase(best);
}

void Engine::keep(Sequence& sequence) {
  const auto computed = static_cast<std::size_t>(sequence.cache->length());
  sequence.ids.resize(computed);
  if (computed > 0) kept_.push_front({std::move(sequence.cache), std::move(sequence.ids)});
  if (kept_.size() > options_.kept_sequences) kept_.pop_back();
}

void Engine::cancel(std::int64_t request) {
  waiting_.erase(request);
  const auto found = running_.find(request);
  if (found == running_.end()) return;
  keep(found->second);
  running_.erase(found);
}

std::int64_t Engine::cached_tokens(std::int64_t request) const {
  const auto found = running_.find(request);
  return found == running_.end() ? 0 : found->second.cached;
}

std::vector<NewToken> Engine::step() {
  admit();
  std::vector<SequencePart> parts;
  std::vector<std::int64_t> askers;  // whose scores come, in order
  std::int64_t room = options_.tokens_per_pass;
  const auto add_part = [&](std::int64_t number, Sequence& sequence, std::int64_t most) {
    const auto ids = sequence.to_compute();
    const auto count = static_cast<std::size_t>(std::min(most, std::ssize(ids)));
    if (count == 0) return;
    const bool last = count == ids.size();
    parts.push_back({sequence.cache.get(), ids.first(count), last ? Scores::last : Scores::none});
    if (last) askers.push_back(number);
    if (ids.size() > 1) room -= static_cast<std::int64_t>(count);
  };
  for (auto& [number, sequence] : running_) {
    if (sequence.to_compute().size() == 1) add_part(number, sequence, 1);
  }
  for (auto& [number, sequence] : running_) {
    if (sequence.to_compute().size() > 1) add_part(number, sequence, room);
  }
  if (parts.empty()) return {};
  const std::span<float> scores = model_->run(parts);
  const auto vocab = static_cast<std::size_t>(spec().vocab);
  std::vector<NewToken> tokens;
  std::vector<std::int64_t> failed;
  for (std::size_t a = 0; a < askers.size(); ++a) {
    const std::span<float> own = scores.subspan(a * vocab, vocab);
    if (all_finite(own)) {
      tokens.push_back(choose(askers[a], own));
    } else {
      failed.push_back(askers[a]);
    }
  }
  for (const std::int64_t number : failed) tokens.push_back(fail(number));
  return tokens;
}

NewToken Engine::choose(std::int64_t number, std::span<float> scores) {
  Sequence& sequence = running_.at(number);
  NewToken token{number, sequence.sampler.next(scores), Finish::none, nullptr};
  sequence.sampler.saw(token.id);
  sequence.ids.push_back(token.id);
  --sequence.left;
  const std::vector<std::int32_t>& stops = sequence.stop_ids;
  if (std::find(stops.begin(), stops.end(), token.id) != stops.end()) {
    token.finish = Finish::stop;
  } else if (sequence.left == 0) {
    token.finish = Finish::length;
  }
  if (token.finish != Finish::none) cancel(number);
  return token;
}

NewToken Engine::fail(std::int64_t number) {
  NewToken token{number, 0, Finish::failed, nullptr};
  const std::vector<std::int32_t> ids = running_.at(number).ids;
  running_.erase(number);
  try {
    model_->fail_where_not_finite(ids);
  } catch (const Error&) {
    token.error = std::current_exception();
  }
  return token;
}

}  // namespace moebius
