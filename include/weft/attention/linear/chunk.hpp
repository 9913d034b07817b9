#pragma once

#include <weft/attention/linear/ahead.hpp>
#include <weft/core/pack.hpp>
#include <weft/core/reduce.hpp>
#include <weft/core/scratch.hpp>
#include <weft/core/tile_product.hpp>

/// A run of n tokens of one head by matrix products, from the state S before it:
///
///   u_i = v_i                                                          additive
///   u_i = beta_i (v_i - S^T r_i - sum_{j<i} (r_i . k_j) u_j)           delta rule
///   o_i = S^T q_i + sum_{j<=i} (q_i . k_j) u_j
///   S  <- S + sum_j k_j u_j^T
///
/// K is transposed once and is then the right operand of Q K^T and the left one of K^T U; all
/// others are read in place. The triangles are cut into register tiles of rows, above the diagonal
/// hardly anything is computed. Multiply-adds per token: 2 F E and about n (F + E) / 2; of the
/// delta rule 3 F E and n (F + E).
///
/// Decays are scales of these operands. With B_i a sum of log decays up to token i, and S standing
/// for exp(B) S as of the token where these sums begin, a number per token asks for o_i exp(B_i)
/// instead of o_i and k_j exp(-B_j) instead of k_j, or, with the delta rule, v_j exp(-B_j) instead
/// of v_j; numbers per channel for q_i exp(B_i), k_i exp(-B_i) and r_i = k_i exp(B_i). (Without
/// them r is k.) The sums go on from chunk to chunk: S itself is scaled only when they begin anew.
/// exp(-B) must not overflow: whoever cuts the chunks keeps |B| within kDecayRange.
namespace weft::detail {

/// Tokens of the longest chunk, whole register tiles of rows; and the length of a row of scores,
/// whole registers.
inline constexpr Index kChunk = 30;
inline constexpr Index kChunkLd = round_up(kChunk, 16);

/// What is lost to the rounding of B is kDecayRange epsilon, about 1e-6 in fp32, and
/// exp(kDecayRange) leaves room for the products.
template <class T>
inline constexpr T kDecayRange = sizeof(T) == 4 ? T(16) : T(64);

/// Rows of numbers, ld apart; zero from the last number up to a whole register.
template <class T>
struct PaddedRows {
  const T* rows;
  Index ld;
};

/// Where rows of results go, row i times factors[i].
template <class T>
struct ScaledRows {
  T* rows;
  Index ld;
  const T* factors;
};

/// Its members are not inlined: they are compiled once for all mixers of a program.
template <class T, class A>
class Chunk {
 public:
  /// Buffers of a head of F features and E channels.
  Chunk(Index features, Index value_dim, bool delta, Arena& arena)
      : features_(features),
        value_ld(round_up(value_dim, kWidth<T, A>)),
        v(arena.take<T>(kChunk * value_ld)),
        o(arena.take<T>(kChunk * value_ld)),
        weights(arena.take<T>(kChunk)),
        denominators(arena.take<T>(kChunk)),
        transposed_(arena.take<T>(features * kChunkLd)),
        scores_(arena.take<T>((delta ? 2 : 1) * kChunk * kChunkLd)) {}

  /// Keys of n tokens, token j times factors[j] (null: 1), for all products with them.
  [[gnu::noinline]] void set_keys(Index n, const PaddedRows<T>& k,
                                  const T* factors = nullptr) noexcept {
    transpose_rows<A>(k.rows, k.ld, features_, n, transposed_, kChunkLd, factors);
  }

  /// scores = lower(q k^T). Rows of q behind the last token up to a whole register tile are read,
  /// too, here and in attend, and what comes of them is ignored.
  [[gnu::noinline]] void score(Index n, const PaddedRows<T>& q) noexcept {
    lower_product(n, q, 0, scores_);
  }

  /// o = q S + scores u, u being what is written. Rows of `to` behind the last token up to a whole
  /// register tile are written, too.
  [[gnu::noinline]] void attend(Index n, const PaddedRows<T>& q, const PaddedRows<T>& u, const T* s,
                                Index s_ld, const ScaledRows<T>& to) noexcept {
    for (Index e = 0; e < value_ld; e += kTileCols<T, A>)
      for (Index r = 0; r < n; r += kTileRows) {
        const Index vectors = std::min<Index>(kTileVectors<A>, (value_ld - e) / kWidth<T, A>);
        const Index seen = std::min(n, r + kTileRows);
        two_products_tile<A, kTileRows, kTileVectors<A>>(
            vectors, Operands<T, Index>{features_, q.rows + r * q.ld, q.ld, s + e, s_ld},
            Operands<T, Row>{seen, scores_ + r * kChunkLd, {}, u.rows + e, u.ld}, to.factors + r,
            to.rows + r * to.ld + e, to.ld, ahead.take(features_ + seen));
      }
  }

  /// What the delta rule writes instead of v, in its place; `weights` are beta. False where it is
  /// not finite, and then nothing else is right.
  [[gnu::noinline]] bool replace_values(Index n, const PaddedRows<T>& r, const T* s,
                                        Index s_ld) noexcept {
    T* lower = scores_ + kChunk * kChunkLd;
    lower_product(n, r, 1, lower);
    product(n, r, s, s_ld);
    solve(n, o, lower);
    return finite(n, {v, value_ld});
  }

  /// denominators = q . z + sums of the rows of scores.
  [[gnu::noinline]] void sum_scores(Index n, const PaddedRows<T>& q, const T* z) noexcept {
    constexpr Index W = kWidth<T, A>;
    for (Index i = 0; i < n; ++i) {
      const T* row = scores_ + i * kChunkLd;
      Vec<T, A> sum(T(0));
      for (Index c = 0; c <= i; c += W) sum = sum + load<A>(row + c);
      for (Index f = 0; f < features_; f += W)
        sum = mul_add(load<A>(q.rows + i * q.ld + f), load<A>(z + f), sum);
      denominators[i] = sum_lanes(sum);
    }
  }

  /// S += k^T u.
  [[gnu::noinline]] void write(Index n, const PaddedRows<T>& u, T* s, Index s_ld) noexcept {
    for (Index f = 0; f < features_; f += kTileRows)
      strips_product<A, MultiplyAdd<T, A>>(std::min<Index>(kTileRows, features_ - f), value_ld, n,
                                           transposed_ + f * kChunkLd, kRow, u.rows, u.ld,
                                           s + f * s_ld, s_ld, true, ahead.take(n));
  }

  /// o = q S. S is read in blocks that stay in the L1 cache while all rows meet them.
  [[gnu::noinline]] void product(Index n, const PaddedRows<T>& q, const T* s,
                                 Index s_ld) const noexcept {
    constexpr Index kDepth = (32 << 10) / (kTileCols<T, A> * Index{sizeof(T)});
    for (Index d = 0; d < features_; d += kDepth)
      strips_product<A, MultiplyAdd<T, A>>(n, value_ld, std::min(kDepth, features_ - d), q.rows + d,
                                           q.ld, s + d * s_ld, s_ld, o, value_ld, d > 0);
  }

  /// Whether 0 u = 0 holds: if not, tokens must not meet later ones, not even by a zero.
  [[gnu::noinline]] bool finite(Index n, const PaddedRows<T>& u) const noexcept {
    const Vec<T, A> zero(T(0));
    Vec<T, A> sums[4] = {zero, zero, zero, zero};  // as many at once as additions take cycles
    Index i = 0;
    for (; i + 4 <= n; i += 4)
      for (Index e = 0; e < value_ld; e += kWidth<T, A>)
#pragma GCC unroll 4
        for (Index r = 0; r < 4; ++r)
          sums[r] = mul_add(load<A>(u.rows + (i + r) * u.ld + e), zero, sums[r]);
    for (; i < n; ++i)
      for (Index e = 0; e < value_ld; e += kWidth<T, A>)
        sums[0] = mul_add(load<A>(u.rows + i * u.ld + e), zero, sums[0]);
    return sum_lanes(sums[0] + sums[1] + (sums[2] + sums[3])) == T(0);
  }

 private:
  using Row = std::integral_constant<Index, kChunkLd>;
  static constexpr Row kRow{};

  /// to[i, j] = x_i . k_j for j <= i, or j < i with strict = 1; zero behind them in the tile.
  void lower_product(Index n, const PaddedRows<T>& x, Index strict, T* to) noexcept {
    constexpr Index W = kWidth<T, A>;
    for (Index r = 0; r < n; r += kTileRows) {
      const Index rows = std::min<Index>(kTileRows, n - r), cols = round_up(r + rows, W);
      strips_product<A, MultiplyAdd<T, A>>(rows, cols, features_, x.rows + r * x.ld, x.ld,
                                           transposed_, kChunkLd, to + r * kChunkLd, kChunkLd,
                                           false, ahead.take(features_));
      for (Index i = r; i < r + rows; ++i)
        keep_first(i + 1 - strict, r / W * W, cols, to + i * kChunkLd);
    }
  }

  /// Zeros from `count` on in columns [begin, end).
  static void keep_first(Index count, Index begin, Index end, T* row) noexcept {
    constexpr Index W = kWidth<T, A>;
    for (Index c = begin; c < end; c += W) {
      const auto kept = leading_lanes<A, T>(count - c);
      store<A>(row + c, xsimd::select(kept, load<A>(row + c), Vec<T, A>(T(0))));
    }
  }

  /// v <- (I + diag(beta) L)^-1 diag(beta) (v - read), forward substitution by blocks of rows.
  void solve(Index n, const T* read, T* lower) noexcept {
    for (Index i = 0; i < n; ++i)
      begin_row(weights[i], read + i * value_ld, v + i * value_ld, lower + i * kChunkLd, i);
    for (Index r = 0; r < n; r += kTileRows) {
      const Index rows = std::min<Index>(kTileRows, n - r);
      strips_product<A, MultiplyAdd<T, A>>(rows, value_ld, r, lower + r * kChunkLd, kRow, v,
                                           value_ld, v + r * value_ld, value_ld, true);
      for (Index i = r + 1; i < r + rows; ++i)
        for (Index j = r; j < i; ++j)
          add_scaled(lower[i * kChunkLd + j], v + j * value_ld, v + i * value_ld);
    }
  }

  /// v = beta (v - read), and the row of L times -beta.
  void begin_row(T beta, const T* read, T* row, T* lower, Index n) const noexcept {
    const Vec<T, A> b(beta), minus(-beta);
    for (Index e = 0; e < value_ld; e += kWidth<T, A>)
      store<A>(row + e, b * (load<A>(row + e) - load<A>(read + e)));
    for (Index c = 0; c < n; c += kWidth<T, A>) store<A>(lower + c, load<A>(lower + c) * minus);
  }

  void add_scaled(T factor, const T* row, T* to) const noexcept {
    const Vec<T, A> f(factor);
    for (Index e = 0; e < value_ld; e += kWidth<T, A>)
      store<A>(to + e, mul_add(f, load<A>(row + e), load<A>(to + e)));
  }

  Index features_;

 public:
  Index value_ld;
  T* v;  ///< rows of values that cannot be read in place, or are replaced
  T* o;  ///< rows of results that cannot be written in place
  T* weights;
  T* denominators;
  RowsAhead ahead;  ///< what the next chunk needs

 private:
  T* transposed_;
  T* scores_;
};

}  // namespace weft::detail
