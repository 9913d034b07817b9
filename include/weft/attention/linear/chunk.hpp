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
/// others are read in place. The triangles are cut into blocks of 12 rows, above the diagonal
/// hardly anything is computed. Multiply-adds per token: 2 F E and about n (F + E) / 2; of the
/// delta rule 3 F E and n (F + E).
///
/// Decays are scales of these operands. With B_i the sum of log decays from the start of the chunk
/// up to token i, a number per token asks for v_i exp(-B_i) instead of v_i, o_i exp(B_i) instead of
/// o_i and exp(B_n) of the new S; numbers per channel for q_i exp(B_i), k_i exp(-B_i) and
/// r_i = k_i exp(B_i). (Without them r is k.) exp(-B) must not overflow: whoever cuts the chunks
/// keeps |B| within kDecayRange.
namespace weft::detail {

/// Tokens of the longest chunk, whole register tiles of rows; and the length of a row of scores,
/// whole registers.
inline constexpr Index kChunk = 36;
inline constexpr Index kChunkLd = round_up(kChunk, 16);

/// What is lost to the rounding of B is kDecayRange epsilon, about 1e-6 in fp32, and
/// exp(kDecayRange) leaves room for the products.
template <class T>
inline constexpr T kDecayRange = sizeof(T) == 4 ? T(16) : T(64);

/// Rows of a block of the triangles, whole register tiles.
inline constexpr Index kTriangle = 12;

/// Rows of features; zero from the last feature up to a whole register.
template <class T>
struct FeatureMatrix {
  const T* rows;
  Index ld;
};

/// Its members are not inlined: they are compiled once for all mixers of a program.
template <class T, class A>
class Chunk {
 public:
  /// Buffers of a head of F features and E channels.
  Chunk(Index features, Index value_dim, bool delta, Arena& arena)
      : features_(features),
        value_ld(round_up(value_dim, kWidth<T, A>)),
        u(arena.take<T>(kChunk * value_ld)),
        o(arena.take<T>(kChunk * value_ld)),
        weights(arena.take<T>(kChunk)),
        denominators(arena.take<T>(kChunk)),
        transposed_(arena.take<T>(features * kChunkLd)),
        scores_(arena.take<T>((delta ? 2 : 1) * kChunk * kChunkLd)) {}

  /// Keys of n tokens, for attend, attend_delta and write.
  [[gnu::noinline]] void set_keys(Index n, const FeatureMatrix<T>& k) noexcept {
    pack_rows<A>(k.rows, Index{1}, k.ld, features_, n, transposed_, kChunkLd);
  }

  /// o = q S + lower(q k^T) u for n tokens. Rows of q behind the last token up to a whole register
  /// tile are read, too, and what comes of them is ignored.
  [[gnu::noinline]] void attend(Index n, const FeatureMatrix<T>& q, const T* s,
                                Index s_ld) noexcept {
    scores(n, q, 0, scores_);
    outputs(n, q, s, s_ld);
  }

  /// The same for the delta rule: u holds v and becomes what is written, `weights` are beta. False
  /// where u is not finite, and then nothing else is right.
  [[gnu::noinline]] bool attend_delta(Index n, const FeatureMatrix<T>& q, const FeatureMatrix<T>& r,
                                      const T* s, Index s_ld) noexcept {
    T* lower = scores_ + kChunk * kChunkLd;
    scores(n, r, 1, lower);
    product(n, r, s, s_ld);
    solve(n, o, lower);
    if (!finite_updates(n)) return false;
    attend(n, q, s, s_ld);
    return true;
  }

  /// denominators = q . z + sum over j <= i of the scores of attend times `share`[j] (null: 1).
  [[gnu::noinline]] void sum_scores(Index n, const FeatureMatrix<T>& q, const T* z,
                                    const T* share) noexcept {
    constexpr Index W = kWidth<T, A>;
    for (Index i = 0; i < n; ++i) {
      const T* row = scores_ + i * kChunkLd;
      Vec<T, A> sum(T(0));
      for (Index c = 0; c <= i; c += W)
        sum = share == nullptr ? sum + load<A>(row + c)
                               : mul_add(load<A>(row + c), load<A>(share + c), sum);
      for (Index f = 0; f < features_; f += W)
        sum = mul_add(load<A>(q.rows + i * q.ld + f), load<A>(z + f), sum);
      denominators[i] = sum_lanes(sum);
    }
  }

  /// S += k^T u, after which it is to be decayed.
  [[gnu::noinline]] void write(Index n, T* s, Index s_ld) const noexcept {
    strips_product<A, MultiplyAdd<T, A>>(features_, value_ld, n, transposed_, kRow, u, value_ld, s,
                                         s_ld, true);
  }

  /// o = q S. S is read in blocks that stay in the L1 cache while all rows meet them.
  [[gnu::noinline]] void product(Index n, const FeatureMatrix<T>& q, const T* s,
                                 Index s_ld) const noexcept {
    constexpr Index kDepth = (32 << 10) / (kTileCols<T, A> * Index{sizeof(T)});
    for (Index d = 0; d < features_; d += kDepth)
      strips_product<A, MultiplyAdd<T, A>>(n, value_ld, std::min(kDepth, features_ - d), q.rows + d,
                                           q.ld, s + d * s_ld, s_ld, o, value_ld, d > 0);
  }

  /// Whether 0 u = 0 holds: if not, tokens must not meet later ones, not even by a zero.
  [[gnu::noinline]] bool finite_updates(Index n) const noexcept {
    const Vec<T, A> zero(T(0));
    Vec<T, A> sum = zero;
    for (Index e = 0; e < n * value_ld; e += kWidth<T, A>) sum = mul_add(load<A>(u + e), zero, sum);
    return sum_lanes(sum) == T(0);
  }

 private:
  using Row = std::integral_constant<Index, kChunkLd>;
  static constexpr Row kRow{};

  /// to[i, j] = x_i . k_j for j <= i, or j < i with strict = 1; zero behind them in the block.
  void scores(Index n, const FeatureMatrix<T>& x, Index strict, T* to) const noexcept {
    constexpr Index W = kWidth<T, A>;
    for (Index r = 0; r < n; r += kTriangle) {
      const Index rows = std::min(kTriangle, n - r), cols = round_up(r + rows, W);
      strips_product<A, MultiplyAdd<T, A>>(rows, cols, features_, x.rows + r * x.ld, x.ld,
                                           transposed_, kChunkLd, to + r * kChunkLd, kChunkLd,
                                           false);
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

  /// o = q S + lower(scores) u, both terms in one register tile.
  void outputs(Index n, const FeatureMatrix<T>& q, const T* s, Index s_ld) noexcept {
    for (Index e = 0; e < value_ld; e += kTileCols<T, A>)
      for (Index r = 0; r < n; r += kTileRows) {
        const Index vectors = std::min<Index>(kTileVectors<A>, (value_ld - e) / kWidth<T, A>);
        const Index seen = std::min(n, r + kTileRows);
        two_products_tile<A, kTileRows, kTileVectors<A>>(
            vectors, Operands<T, Index>{features_, q.rows + r * q.ld, q.ld, s + e, s_ld},
            Operands<T, Row>{seen, scores_ + r * kChunkLd, {}, u + e, value_ld},
            o + r * value_ld + e, value_ld, ahead.take(features_ + seen));
      }
  }

  /// u <- (I + diag(beta) L)^-1 diag(beta) (u - read), forward substitution by blocks of rows.
  void solve(Index n, const T* read, T* lower) noexcept {
    for (Index i = 0; i < n; ++i)
      begin_row(weights[i], read + i * value_ld, u + i * value_ld, lower + i * kChunkLd, i);
    for (Index r = 0; r < n; r += kTileRows) {
      const Index rows = std::min<Index>(kTileRows, n - r);
      strips_product<A, MultiplyAdd<T, A>>(rows, value_ld, r, lower + r * kChunkLd, kRow, u,
                                           value_ld, u + r * value_ld, value_ld, true);
      for (Index i = r + 1; i < r + rows; ++i)
        for (Index j = r; j < i; ++j)
          add_scaled(lower[i * kChunkLd + j], u + j * value_ld, u + i * value_ld);
    }
  }

  /// u = beta (u - read), and the row of L times -beta.
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
  T* u;  ///< rows of what is written: v, or what replaces it
  T* o;  ///< rows of results
  T* weights;
  T* denominators;
  RowsAhead ahead;  ///< what the next chunk needs

 private:
  T* transposed_;
  T* scores_;
};

}  // namespace weft::detail
