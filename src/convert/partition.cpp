#include "convert/partition.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/random.h"

namespace moebius {
namespace {

constexpr int iterations = 12;

/// Sizes of `parts` parts of `count`: the first ones get the remainder.
std::int64_t size_of_part(std::int64_t count, std::int64_t parts, std::int64_t part) {
  return count / parts + (part < count % parts ? 1 : 0);
}

at::Tensor unit_rows(const at::Tensor& x) {
  return x / x.norm(2, -1, /*keepdim=*/true).clamp_min(1e-12);
}

/// k-means++ (Arthur and Vassilvitskii, 2007): centres far from each other.
at::Tensor first_centres(const at::Tensor& rows_FT, std::int64_t parts, Random& random) {
  const std::int64_t count = rows_FT.size(0);
  const auto pick = [&](std::int64_t i) { return rows_FT.narrow(0, i, 1); };
  at::Tensor centres =
      pick(static_cast<std::int64_t>(random.next_below(static_cast<std::uint64_t>(count))));
  while (centres.size(0) < parts) {
    const at::Tensor nearest = std::get<0>(at::matmul(rows_FT, centres.t()).max(1));
    const at::Tensor distance = (1 - nearest).clamp_min(0).to(at::kDouble).contiguous();
    const auto* d = distance.const_data_ptr<double>();
    double left = random.next_uniform() * std::accumulate(d, d + count, 0.0);
    std::int64_t chosen = 0;
    while (chosen + 1 < count && (left -= d[chosen]) > 0) ++chosen;
    centres = at::cat({centres, pick(chosen)});
  }
  return centres;
}

/// Members by part, and exchanges of two that increase the sum of similarities.
class Exchange {
 public:
  Exchange(const at::Tensor& similarity_FE, Assignment& assignment)
      : similarity_(similarity_FE.const_data_ptr<float>()),
        parts_(similarity_FE.size(1)),
        assignment_(assignment),
        members_(static_cast<std::size_t>(parts_)) {
    for (std::size_t i = 0; i < assignment.size(); ++i) {
      members_[static_cast<std::size_t>(assignment[i])].push_back(i);
    }
  }

  void run() {
    for (bool improved = true; improved;) {
      improved = false;
      for (std::int64_t a = 0; a < parts_; ++a) {
        for (std::int64_t b = a + 1; b < parts_; ++b) {
          if (exchange(a, b)) improved = true;
        }
      }
    }
  }

 private:
  float gain(std::size_t member, std::int64_t to) const {
    const float* row = similarity_ + static_cast<std::int64_t>(member) * parts_;
    return row[to] - row[assignment_[member]];
  }

  float best_gain(std::int64_t from, std::int64_t to) const {
    float best = -std::numeric_limits<float>::infinity();
    for (const std::size_t m : members_[static_cast<std::size_t>(from)]) {
      best = std::max(best, gain(m, to));
    }
    return best;
  }

  /// The members of `from` that gain more than `least` in `to`, by ascending gain.
  std::vector<std::pair<float, std::size_t*>> gainers(std::int64_t from, std::int64_t to,
                                                      float least) {
    std::vector<std::pair<float, std::size_t*>> found;
    for (std::size_t& m : members_[static_cast<std::size_t>(from)]) {
      if (const float g = gain(m, to); g > least) found.emplace_back(g, &m);
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  /// Exchanges members of two parts, best with best, while the sum of both gains is positive.
  bool exchange(std::int64_t a, std::int64_t b) {
    constexpr float smallest = 1e-6F;
    auto of_a = gainers(a, b, smallest - best_gain(b, a));
    auto of_b = gainers(b, a, smallest - best_gain(a, b));
    bool any = false;
    for (; !of_a.empty() && !of_b.empty(); of_a.pop_back(), of_b.pop_back()) {
      if (of_a.back().first + of_b.back().first <= smallest) break;
      std::size_t &x = *of_a.back().second, &y = *of_b.back().second;
      std::swap(assignment_[x], assignment_[y]);
      std::swap(x, y);
      any = true;
    }
    return any;
  }

  const float* similarity_;
  std::int64_t parts_;
  Assignment& assignment_;
  std::vector<std::vector<std::size_t>> members_;
};

}  // namespace

Assignment random_partition(std::int64_t neurons, std::int64_t parts, std::uint64_t seed,
                            const std::string& stream) {
  Assignment assignment;
  for (std::int64_t part = 0; part < parts; ++part) {
    assignment.insert(assignment.end(),
                      static_cast<std::size_t>(size_of_part(neurons, parts, part)), part);
  }
  Random random(seed, stream_of(stream));
  for (std::size_t i = assignment.size(); i > 1; --i) {
    std::swap(assignment[i - 1], assignment[random.next_below(i)]);
  }
  return assignment;
}

Assignment assign_balanced(const at::Tensor& similarity_FE) {
  const at::Tensor similarity = similarity_FE.to(at::kFloat).contiguous();
  const std::int64_t count = similarity.size(0), parts = similarity.size(1);
  const auto* rows = similarity.const_data_ptr<float>();
  // Neurons that lose most by their second choice are assigned first.
  std::vector<float> regret(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    std::vector<float> row(rows + i * parts, rows + (i + 1) * parts);
    std::sort(row.begin(), row.end(), std::greater<>());
    regret[static_cast<std::size_t>(i)] = parts > 1 ? row[0] - row[1] : 0;
  }
  std::vector<std::size_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return regret[a] > regret[b]; });
  std::vector<std::int64_t> room;
  for (std::int64_t part = 0; part < parts; ++part)
    room.push_back(size_of_part(count, parts, part));
  Assignment assignment(static_cast<std::size_t>(count), -1);
  for (const std::size_t i : order) {
    const float* row = rows + static_cast<std::int64_t>(i) * parts;
    std::int64_t chosen = -1;
    for (std::int64_t part = 0; part < parts; ++part) {
      if (room[static_cast<std::size_t>(part)] == 0) continue;
      if (chosen < 0 || row[part] > row[chosen]) chosen = part;
    }
    assignment[i] = chosen;
    --room[static_cast<std::size_t>(chosen)];
  }
  Exchange(similarity, assignment).run();
  return assignment;
}

Assignment cluster(const at::Tensor& features_FT, std::int64_t parts, std::uint64_t seed,
                   const std::string& stream) {
  const at::Tensor rows = unit_rows(features_FT);
  Random random(seed, stream_of(stream));
  at::Tensor centres = first_centres(rows, parts, random);
  Assignment assignment, before;
  for (int i = 0; i < iterations; ++i) {
    assignment = assign_balanced(at::matmul(rows, centres.t()));
    if (assignment == before) break;
    before = assignment;
    const at::Tensor members = at::zeros({parts, rows.size(0)}, rows.options());
    auto* member = members.mutable_data_ptr<float>();
    for (std::size_t n = 0; n < assignment.size(); ++n) {
      member[assignment[n] * rows.size(0) + static_cast<std::int64_t>(n)] = 1;
    }
    centres = unit_rows(at::matmul(members, rows));
  }
  return assignment;
}

}  // namespace moebius
