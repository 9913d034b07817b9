#pragma once

#include <weft/core/arguments.hpp>

/// Updates: what a token writes into the state, S <- S + k u^T.
///
///   Additive       u = v
///   Weighted       u = w v                               w per token and head
///   Delta          u = beta (v - S^T k)                  what is already stored is replaced
///
/// S is the decayed state before the token. Weights are [B, H, N], tokens those of the call, any
/// strides, used as they are: beta in (0, 1) for DeltaNet, (0, 2) with negative eigenvalues. The
/// delta rule keeps the state bounded only for beta |k|^2 <= 2.
namespace weft {

/// u = v.
struct Additive {
  static constexpr bool reads_state = false, has_weight = false;
  void check(Index, Index, Index) const noexcept {}
};

namespace detail {

template <class S>
struct TokenWeight {
  static constexpr bool has_weight = true;
  View<const S, 3> weight;

  explicit TokenWeight(View<const S, 3> per_token) noexcept : weight(per_token) {}

  double weight_at(Index b, Index h, Index token) const noexcept {
    return static_cast<double>(weight(b, h, token));
  }
  void check(Index batch, Index heads, Index tokens) const {
    require(weight.shape() == std::array{batch, heads, tokens}, "the weights of the update are ",
            weight, ", must be [", batch, ", ", heads, ", ", tokens, "]");
  }
};

}  // namespace detail

/// u = w v.
template <class S = float>
struct Weighted : detail::TokenWeight<S> {
  static constexpr bool reads_state = false;
  explicit Weighted(View<const S, 3> w) noexcept : detail::TokenWeight<S>(w) {}
};
template <class X>
Weighted(X&&) -> Weighted<detail::Element<X>>;

/// u = beta (v - S^T k): the delta rule (arXiv:2102.11174, arXiv:2406.06484).
template <class S = float>
struct Delta : detail::TokenWeight<S> {
  static constexpr bool reads_state = true;
  explicit Delta(View<const S, 3> beta) noexcept : detail::TokenWeight<S>(beta) {}
};
template <class X>
Delta(X&&) -> Delta<detail::Element<X>>;

}  // namespace weft
