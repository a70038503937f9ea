// The operations of the graph on the kernels of the CPU: without gradients, in memory of an arena.
// A row's bits depend neither on the rows beside it nor on the number of threads.
#pragma once

#include <array>
#include <span>

#include "model/cpu_model.h"
#include "model/graph.h"
#include "moe/routing_recorder.h"

namespace moebius {

/// f32 [rows, columns] in memory of the arena, rows `stride` apart.
struct Rows {
  float* data = nullptr;
  std::int64_t rows = 0, columns = 0, stride = 0;

  float* row(std::int64_t r) const { return data + r * stride; }
  Rows narrow(std::int64_t begin, std::int64_t count) const {
    return {row(begin), count, columns, stride};
  }
};

/// The tokens of one sequence in a pass: [past, past + count), and pages with room for them.
struct CpuSequence {
  std::byte* const* pages = nullptr;
  std::int64_t past = 0, count = 0;
};

/// One pass over the tokens of several sequences, one after the other.
class CpuOps {
 public:
  using Tensor = Rows;
  using Ids = std::span<const std::int32_t>;
  /// What was taken while it lives is given back.
  struct Scope {
    explicit Scope(CpuOps& ops) : scope(ops.cpu_.arena) {}
    Arena::Scope scope;
  };

  /// Reports the routing of MoE layers to `recorder` unless that is null.
  CpuOps(const CpuModel& model, const kernels::CpuContext& cpu,
         std::span<const CpuSequence> sequences, RoutingRecorder* recorder);

  const ModelSpec& spec() const { return model_.spec; }

  Rows embedding(Ids ids, const Weight& w) const;
  Rows add_positions(const Rows& x, const Weight& w_CD) const;
  Rows scale(const Rows& x, double factor) const;
  Rows clamp(const Rows& x, double bound) const;
  Rows columns(const Rows& x, std::int64_t begin, std::int64_t count) const;
  bool all_finite(const Rows& x) const;

  Rows norm(const Rows& x, const NormOf<Weight>& w) const;
  Rows norm_sum(const Rows& x, const NormOf<Weight>& w) const;
  Rows rms_norm(const Rows& x, const Weight& w, double eps, std::int64_t heads) const;

  Rows linear(const Rows& x, const Linear& l) const { return products(x, {l})[0]; }
  template <std::size_t N>
  std::array<Rows, N> products(const Rows& x, const Linear (&ls)[N]) const {
    std::array<Rows, N> out;
    multiply(x, ls, out);
    return out;
  }

  Rows rotate(const Rows& x, std::int64_t heads) const;
  Rows attend(std::size_t layer, const Rows& q, const Rows& k, const Rows& v) const;
  /// In the space of the latents: with one key of width R + P and one value of width R for all
  /// heads (DeepSeek-V2, 2.1.2).
  Rows attend_to_latents(std::size_t layer, const Rows& q, const Rows& k, const Rows& c,
                         const Weight& b) const;

  Rows add_linear(const Rows& x, const Rows& y, const Linear& l) const;
  Rows add_ffn(const Rows& x, const Rows& y, const Ffn& w, std::size_t layer) const;
  Rows add_moe(const Rows& x, const Rows& y, const Moe& w, std::size_t layer) const;

 private:
  Rows take(std::int64_t rows, std::int64_t columns) const;
  /// The weights that will be read next, at once as far as they lie one behind the other.
  void expect(std::initializer_list<const PackedWeight*> weights) const;
  /// The same of a layer's, or after the last one the head's.
  void expect_layer(std::size_t layer) const;
  /// Calls work(row) for all rows of x.
  template <class Work>
  void for_each_row(const Rows& x, Work work) const;
  void multiply(const Rows& x, std::span<const Linear> ls, std::span<Rows> out) const;
  /// Each head's part of x times its matrix: [T, H K] to H parts of N columns, `apart` from one to
  /// the next.
  void multiply_heads(const Rows& x, std::int64_t x_apart, const PackedWeight& w, const Rows& y,
                      std::int64_t y_apart) const;
  void norm_rows(const Rows& x, const Rows& y, const float* weight, const float* bias, double eps,
                 bool centred) const;
  Rows attention(std::size_t layer, const kernels::Attention& args, const Rows& q, const Rows& k,
                 const Rows& v) const;
  Rows router_logits(const Rows& x, const Moe& w, std::size_t layer) const;
  /// Multiplies scales [T] by sigmoid(gate x).
  void gate_shared(const Rows& x, const PackedWeight& gate, float* scales) const;
  void record_routing(std::size_t layer, const Rows& logits, const std::int32_t* ids_TK,
                      std::int64_t top_k) const;

  const CpuModel& model_;
  kernels::CpuContext cpu_;
  std::span<const CpuSequence> sequences_;
  RoutingRecorder* recorder_;
  Rows cos_, sin_;  ///< [T, half of what turns]
};

}  // namespace moebius
