// Random numbers that depend on (seed, stream, index) alone, so that any thread can draw any part
// of a sequence and the bytes never depend on how the work was split.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace moebius {

/// SplitMix64 finaliser (Steele et al., 2014): a bijection of 64-bit words with full avalanche.
constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

/// FNV-1a: turns a name, such as a tensor's, into a stream number.
constexpr std::uint64_t stream_of(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325ull;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  return hash;
}

/// A counter-based source. `bits(i)`, `uniform(i)` and `normal(i)` are pure; `next*` walk a cursor.
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream) : key_(mix64(mix64(seed) ^ stream)) {}

  std::uint64_t bits(std::uint64_t index) const { return mix64(key_ + mix64(index)); }

  /// In [0, 1), 53 bits.
  double uniform(std::uint64_t index) const {
    return static_cast<double>(bits(index) >> 11) * 0x1p-53;
  }

  /// Standard normal by Box and Muller; one value per index.
  double normal(std::uint64_t index) const {
    const double u = 1.0 - uniform(2 * index), v = uniform(2 * index + 1);
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
  }

  std::uint64_t next() { return bits(cursor_++); }
  double next_uniform() { return uniform(cursor_++); }
  /// In [0, bound), bound > 0; the bias is below bound / 2^64.
  std::uint64_t next_below(std::uint64_t bound) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }

  /// Where `next*` stands; saved in and restored from checkpoints.
  std::uint64_t cursor() const { return cursor_; }
  void set_cursor(std::uint64_t cursor) { cursor_ = cursor; }

 private:
  std::uint64_t key_;
  std::uint64_t cursor_ = 0;
};

}  // namespace moebius
