#include "support/catch.hpp"
#include <weft/attention/softmax/row_products.hpp>
#include <weft/core/tensor.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

// The products of few query rows with tokens in memory, against sums in double.

using namespace weft;

namespace {

/// Tokens in runs of at most `run_length`, as pages have them.
template <class S>
struct Tokens {
  Tensor<S, 4> k, v;  // [1, Hk, M, D] and [1, Hk, M, E]
  Index run_length;
  mutable Index asked_for = 0;  ///< the last token that was, and one more

  Tokens(Index heads, Index tokens, Index key_dim, Index value_dim, Index length)
      : k({1, heads, tokens, key_dim}), v({1, heads, tokens, value_dim}), run_length(length) {
    float x = 0.1f;
    for (S& y : k.span()) y = static_cast<S>(std::sin(x += 0.7f));
    for (S& y : v.span()) y = static_cast<S>(std::cos(x += 0.3f));
  }

  Index keys(Index) const noexcept { return k.extent(2); }
  Index kv_heads() const noexcept { return k.extent(1); }
  Index key_dim() const noexcept { return k.extent(3); }
  Index value_dim() const noexcept { return v.extent(3); }
  KvRun<S, S> run(Index b, Index h, Index j) const noexcept {
    asked_for = std::max(asked_for, j + 1);
    const Index left = std::min(run_length - j % run_length, keys(b) - j);
    return {&k(b, h, j, 0), key_dim(), &v(b, h, j, 0), value_dim(), left};
  }
};

template <class T, class S>
class Products {
 public:
  using Of = detail::RowProducts<T, DefaultArch, Tokens<S>>;
  static constexpr Index W = kWidth<T>;

  Products(const Tokens<S>& tokens, const KvTile& tile)
      : tokens_(tokens),
        tile_(tile),
        q_ld_(round_up(tokens.key_dim(), W)),
        s_ld_(round_up(tile.count, W) + W),
        acc_ld_(round_up(tokens.value_dim(), W)),
        q_(size(tile.rows * q_ld_)),
        s_(size(tile.rows * s_ld_)),
        p_(size(tile.rows * s_ld_)),
        acc_(size(tile.rows * acc_ld_), T(1)) {
    float x = 0.5f;
    for (Index r = 0; r < tile.rows; ++r) {
      for (Index d = 0; d < tokens.key_dim(); ++d) q_[size(r * q_ld_ + d)] = std::sin(x += 1.1f);
      for (Index c = 0; c < tile.count; ++c)
        p_[size(r * s_ld_ + c)] = std::abs(std::cos(x += 0.9f));
    }
    std::vector<T> scratch(size(Of::scratch_size(&tokens, tile.rows)));
    Of::begin(&tokens, q_.data(), q_ld_, tile.rows, scratch.data());
    Of::logits(&tokens, tile, q_.data(), q_ld_, scratch.data(), s_.data(), s_ld_);
    Of::add_values(&tokens, tile, p_.data(), s_ld_, scratch.data(), acc_.data(), acc_ld_);
  }

  /// Largest error in units of epsilon of T and of the sum of magnitudes.
  double error_of_logits() const {
    double worst = 0;
    for (Index r = 0; r < tile_.rows; ++r)
      for (Index c = 0; c < tile_.count; ++c) {
        double sum = 0, size_of_sum = 1;
        for (Index d = 0; d < tokens_.key_dim(); ++d)
          add(q_[size(r * q_ld_ + d)], tokens_.k(0, tile_.head, tile_.first + c, d), sum,
              size_of_sum);
        worst = std::max(worst, std::abs(s_[size(r * s_ld_ + c)] - sum) / size_of_sum);
      }
    return worst / epsilon();
  }

  double error_of_values() const {
    double worst = 0;
    for (Index r = 0; r < tile_.rows; ++r)
      for (Index e = 0; e < tokens_.value_dim(); ++e) {
        double sum = 1, size_of_sum = 1;
        for (Index c = 0; c < tile_.count; ++c)
          add(p_[size(r * s_ld_ + c)], tokens_.v(0, tile_.head, tile_.first + c, e), sum,
              size_of_sum);
        worst = std::max(worst, std::abs(acc_[size(r * acc_ld_ + e)] - sum) / size_of_sum);
      }
    return worst / epsilon();
  }

 private:
  static std::size_t size(Index n) { return static_cast<std::size_t>(n); }
  static double epsilon() { return static_cast<double>(std::numeric_limits<T>::epsilon()); }
  static void add(T a, S b, double& sum, double& size_of_sum) {
    const double product = static_cast<double>(a) * static_cast<double>(static_cast<T>(b));
    sum += product;
    size_of_sum += std::abs(product);
  }

  const Tokens<S>& tokens_;
  KvTile tile_;
  Index q_ld_, s_ld_, acc_ld_;
  std::vector<T> q_, s_, p_, acc_;
};

template <class T, class S>
void check(const Tokens<S>& tokens, Index first, Index count, Index rows) {
  tokens.asked_for = 0;
  const Products<T, S> products(tokens, {0, tokens.kv_heads() - 1, first, count, rows});
  INFO("D=" << tokens.key_dim() << " E=" << tokens.value_dim() << " first=" << first
            << " count=" << count << " rows=" << rows << " runs of " << tokens.run_length);
  // Sums of n products are off by less than n epsilon / 2 of their magnitudes, in any order.
  CHECK(products.error_of_logits() <= 0.5 * static_cast<double>(tokens.key_dim() + 1));
  CHECK(products.error_of_values() <= 0.5 * static_cast<double>(count + 2));
  CHECK(tokens.asked_for <= first + count);
}

template <class T, class S>
void check_all() {
  for (const Index length : {Index{7}, Index{1000}})
    for (const Index dim : {1, 7, 8, 16, 31, 32, 40, 67, 128}) {
      const Tokens<S> tokens(2, 300, dim, 132 - dim, length);
      for (Index rows = 1; rows <= 8; ++rows) check<T>(tokens, 3, 5, rows);
      for (const Index count : {1, 16, 33, 256}) check<T>(tokens, 300 - count, count, 5);
    }
}

}  // namespace

TEST_CASE("products of few rows with tokens: all storage types", "[row_products]") {
  check_all<float, float>();
  check_all<float, bf16>();
  check_all<float, fp16>();
  check_all<double, double>();
  check_all<double, float>();
}

TEST_CASE("products of few rows with tokens: pages of many", "[row_products]") {
  const Tokens<bf16> tokens(3, 3000, 48, 80, 256);
  for (const Index first : {0, 256, 2744}) check<float>(tokens, first, 256, 4);
  check<float>(tokens, 2990, 10, 3);
}

TEST_CASE("products of few rows with tokens: whether values are finite", "[row_products]") {
  for (const Index dim : {1, 16, 37}) {
    Tokens<float> tokens(1, 40, 8, dim, 9);
    const auto finite = [&] {
      return detail::RowProducts<float, DefaultArch, Tokens<float>>::values_finite(
          &tokens, {0, 0, 10, 20, 1});
    };
    CHECK(finite());
    for (const float x : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
      tokens.v(0, 0, 9, 0) = tokens.v(0, 0, 30, 0) = x;  // beside the tile
      CHECK(finite());
      tokens.v(0, 0, 29, dim - 1) = x;
      CHECK_FALSE(finite());
      tokens.v(0, 0, 29, dim - 1) = 3e38f;
    }
  }
}
