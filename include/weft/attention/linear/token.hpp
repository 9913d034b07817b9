#pragma once

#include <weft/core/simd.hpp>

/// The recurrence itself, one token of one head:
///
///   S <- diag(a) S,   u = v or beta (v - S^T k),   S <- S + k u^T,   o = S^T q
///
/// Columns of S do not meet each other, so it is done in strips of them that stay in registers (o,
/// u) and in the L1 cache (S, which the delta rule reads twice). The floor is to read and to write
/// S once.
namespace weft::detail {

/// Rows of one token: k, q and the factors a (null: ones) of F features, v and o of E channels.
template <class T>
struct TokenRows {
  const T *q, *k, *v;
  const T* decay;
  T weight;  ///< w or beta
  T* o;
};

/// Vectors of a strip.
inline constexpr int kStripVectors = 4;

template <class A, int NV, bool Decays, bool ReadsState, class T>
void advance_strip(Index features, T* s, Index ld, const TokenRows<T>& token) noexcept {
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>;
  const auto kept = [&](Index f, Index v) __attribute__((always_inline)) {
    const V x = load<A>(s + f * ld + v * W);
    return Decays ? V(x * V(token.decay[f])) : x;
  };
  V u[NV], o[NV];
  for (int v = 0; v < NV; ++v) u[v] = o[v] = V(T(0));
  if constexpr (ReadsState)
    for (Index f = 0; f < features; ++f)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) u[v] = mul_add(V(token.k[f]), kept(f, v), u[v]);
  for (int v = 0; v < NV; ++v) u[v] = V(token.weight) * (load<A>(token.v + v * W) - u[v]);
  for (Index i = 0; i < features; ++i) {
    // The second time backwards: the last rows read are those still in the L1 cache.
    const Index f = ReadsState ? features - 1 - i : i;
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const V x = mul_add(V(token.k[f]), u[v], kept(f, v));
      store<A>(s + f * ld + v * W, x);
      o[v] = mul_add(V(token.q[f]), x, o[v]);
    }
  }
  for (int v = 0; v < NV; ++v) store<A>(token.o + v * W, o[v]);
}

/// `vectors` of a strip, at most NV, chosen at run time.
template <class A, bool Decays, bool ReadsState, int NV = kStripVectors, class T>
void advance_vectors(Index vectors, Index features, T* s, Index ld,
                     const TokenRows<T>& token) noexcept {
  if (vectors >= NV) return advance_strip<A, NV, Decays, ReadsState>(features, s, ld, token);
  if constexpr (NV > 1)
    advance_vectors<A, Decays, ReadsState, NV - 1>(vectors, features, s, ld, token);
}

/// S [features, E], rows ld apart; E is a multiple of the vector.
template <class A, bool Decays, bool ReadsState, class T>
void advance_token(Index features, Index value_dim, T* s, Index ld, TokenRows<T> token) noexcept {
  constexpr Index W = kWidth<T, A>;
  for (Index left = value_dim / W; left > 0;) {
    const Index vectors = std::min<Index>(left, kStripVectors);
    advance_vectors<A, Decays, ReadsState>(vectors, features, s, ld, token);
    left -= vectors;
    s += vectors * W;
    token.v += vectors * W;
    token.o += vectors * W;
  }
}

}  // namespace weft::detail
