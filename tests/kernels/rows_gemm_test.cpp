// Every table that this processor has, against an oracle in double precision: odd sizes, strides
// larger than rows, weights that start anywhere, slices of columns. Buffers end with their last
// element, so that the sanitizer sees a read beyond.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/random.h"
#include "kernels/kernels.h"

namespace moebius::kernels {
namespace {

constexpr float canary = -12345.5f;

DType dtype_of(WeightType type) {
  if (type == WeightType::f32) return DType::f32;
  return type == WeightType::f16 ? DType::f16 : DType::bf16;
}

std::size_t index(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

/// One product with its oracle.
class Problem {
 public:
  Problem(std::int64_t m, std::int64_t n, std::int64_t k, WeightType type)
      : m_(m), n_(n), k_(k), ldx_(k + m % 3), ldw_(k + n % 4), ldy_(n + 1 + k % 3), type_(type) {
    const Random random(static_cast<std::uint64_t>(k), static_cast<std::uint64_t>(m * 100 + n));
    const DType dtype = dtype_of(type);
    const std::size_t skip = index(k % 4);  // in elements: vectors lie misaligned
    x_.resize(index((m - 1) * ldx_ + k));
    for (std::size_t i = 0; i < x_.size(); ++i) x_[i] = static_cast<float>(random.normal(i));
    const std::size_t count = index((n - 1) * ldw_ + k);
    w_.resize((skip + count) * size_of(dtype));
    start_ = w_.data() + skip * size_of(dtype);
    for (std::size_t i = 0; i < count; ++i) {
      store_weight(start_, dtype, i, static_cast<float>(random.normal(i + (1u << 30))));
    }
    make_oracle();
  }

  /// Empty if `table` agrees in columns [begin, end) and writes nothing else.
  std::string check(const KernelTable& table, std::int64_t begin, std::int64_t end) const {
    std::vector<float> y(index((m_ - 1) * ldy_ + n_), canary);
    table.rows_gemm({x_.data(), start_, y.data(), m_, n_, k_, ldx_, ldw_, ldy_, type_}, begin, end);
    for (std::size_t at = 0; at < y.size(); ++at) {
      const std::int64_t row = static_cast<std::int64_t>(at) / ldy_;
      const std::int64_t column = static_cast<std::int64_t>(at) % ldy_;
      if (column < begin || column >= end) {
        if (y[at] != canary) return describe(table, row, column) + " was written to";
        continue;
      }
      const std::size_t o = index(row * n_ + column);
      if (!(std::fabs(y[at] - oracle_[o]) <= bound_[o])) {
        return describe(table, row, column) + " is " + std::to_string(y[at]) + ", not " +
               std::to_string(oracle_[o]);
      }
    }
    return {};
  }

 private:
  void make_oracle() {
    std::vector<double> w(index((n_ - 1) * ldw_ + k_));
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = load_weight(start_, dtype_of(type_), i);
    const double steps = std::min<double>(static_cast<double>(k_) + 1, 64);  // errors cancel
    for (std::int64_t m = 0; m < m_; ++m) {
      for (std::int64_t n = 0; n < n_; ++n) {
        double sum = 0, magnitude = 0;
        for (std::int64_t k = 0; k < k_; ++k) {
          const double product = w[index(n * ldw_ + k)] * x_[index(m * ldx_ + k)];
          sum += product;
          magnitude += std::fabs(product);
        }
        oracle_.push_back(sum);
        bound_.push_back(steps * 0x1p-24 * magnitude);
      }
    }
  }

  std::string describe(const KernelTable& table, std::int64_t row, std::int64_t column) const {
    return std::string(table.isa) + " M=" + std::to_string(m_) + " N=" + std::to_string(n_) +
           " K=" + std::to_string(k_) + " " + std::string(short_name(dtype_of(type_))) + ": y[" +
           std::to_string(row) + ", " + std::to_string(column) + "]";
  }

  std::int64_t m_, n_, k_, ldx_, ldw_, ldy_;
  WeightType type_;
  std::vector<float> x_;
  std::vector<std::byte> w_;
  std::byte* start_ = nullptr;
  std::vector<double> oracle_, bound_;
};

/// The whole product, and a slice of columns that must leave its neighbours alone.
void check_all_tables(std::int64_t m, std::int64_t n, std::int64_t k) {
  for (const WeightType type : {WeightType::f32, WeightType::f16, WeightType::bf16}) {
    const Problem problem(m, n, k, type);
    for (const char* isa : {"ref", "avx2", "avx512", "avx512bf16"}) {
      const KernelTable* table = table_for(isa);
      if (table == nullptr) continue;
      ASSERT_EQ(problem.check(*table, 0, n), "");
      ASSERT_EQ(problem.check(*table, n / 3, n - n / 4), "");
    }
  }
}

constexpr std::int64_t columns[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 33};

TEST(RowsGemm, SmallSizesOfEveryRemainder) {
  for (std::int64_t k = 1; k <= 40; ++k) {
    for (std::int64_t m = 1; m <= 14; ++m) {
      for (const std::int64_t n : columns) check_all_tables(m, n, k);
    }
    for (const std::int64_t n : columns) check_all_tables(31, n, k);
  }
}

TEST(RowsGemm, SizesAroundTheCutOfK) {
  for (const std::int64_t k : {1023, 1024, 1025, 2049}) {
    for (const std::int64_t m : {1, 2, 3, 10, 11, 12, 13, 14, 31}) {
      for (const std::int64_t n : {1, 4, 7, 33}) check_all_tables(m, n, k);
    }
  }
}

TEST(RowsGemm, AnEmptySliceWritesNothing) {
  for (const char* isa : {"ref", "avx2", "avx512", "avx512bf16"}) {
    const KernelTable* table = table_for(isa);
    if (table == nullptr) continue;
    EXPECT_EQ(Problem(3, 5, 17, WeightType::bf16).check(*table, 2, 2), "");
  }
}

TEST(RowsGemm, InfinitiesAndNansOfAWeightArriveInTheirColumnAlone) {
  constexpr std::int64_t n = 5, k = 19;
  for (const WeightType type : {WeightType::f32, WeightType::f16, WeightType::bf16}) {
    std::vector<std::byte> w(n * k * 4);
    for (std::size_t i = 0; i < n * k; ++i) store_weight(w.data(), dtype_of(type), i, 1.0f);
    store_weight(w.data(), dtype_of(type), 1 * k + 3, INFINITY);  // in the body of a row
    store_weight(w.data(), dtype_of(type), 3 * k + 18, NAN);      // in its tail
    const std::vector<float> x(k, 2.0f);
    for (const char* isa : {"ref", "avx2", "avx512", "avx512bf16"}) {
      const KernelTable* table = table_for(isa);
      if (table == nullptr) continue;
      std::vector<float> y(n);
      table->rows_gemm({x.data(), w.data(), y.data(), 1, n, k, k, k, n, type}, 0, n);
      EXPECT_EQ(y[0], 38.0f) << isa;
      EXPECT_EQ(y[1], INFINITY) << isa;
      EXPECT_EQ(y[2], 38.0f) << isa;
      EXPECT_TRUE(std::isnan(y[3])) << isa;
      EXPECT_EQ(y[4], 38.0f) << isa;
    }
  }
}

TEST(KernelTables, AreFoundByTheirNamesAlone) {
  ASSERT_NE(table_for("ref"), nullptr);
  for (const char* isa : {"ref", "avx2", "avx512", "avx512bf16"}) {
    if (const KernelTable* table = table_for(isa)) {
      EXPECT_STREQ(table->isa, isa);
    }
  }
  for (const char* isa : {"", "avx", "AVX2", "avx5120", "ref "}) {
    EXPECT_EQ(table_for(isa), nullptr) << isa;
  }
}

TEST(KernelTables, ThePickIsATableOfThisProcessor) {
  const char* wanted = std::getenv("MOEBIUS_ISA");
  if (wanted != nullptr) {
    EXPECT_EQ(table(), table_for(wanted));
  } else {
    ASSERT_NE(table(), nullptr);
    EXPECT_EQ(table(), table_for(table()->isa));
  }
}

}  // namespace
}  // namespace moebius::kernels
