#pragma once

#include <weft/attention/linear/ahead.hpp>
#include <weft/core/pack.hpp>
#include <weft/core/reduce.hpp>
#include <weft/core/scratch.hpp>
#include <weft/core/tile_product.hpp>

/// A run of n tokens of one head by matrix products. With B_i the sum of log decays up to token i,
/// counted from the start of the chunk, and
///
///   q~_i = q_i exp(B_i)    k~_i = k_i exp(B_i)    k^_j = k_j exp(-B_j)
///
/// the recurrence from the state S is
///
///   u_i = v_i                                                         additive, or w_i v_i
///   u_i = beta_i (v_i - S^T k~_i - sum_{j<i} (k~_i . k^_j) u_j)       delta rule
///   o_i = S^T q~_i + sum_{j<=i} (q~_i . k^_j) u_j
///   S  <- diag(exp B_n) (S + sum_j k^_j u_j^T)
///
/// so K^ is transposed once and is then the right operand of Q K^T and the left one of K^T U; all
/// others are read in place. The triangles are cut into blocks of 12 rows, above the diagonal
/// nothing is computed. Multiply-adds per token: 2 F E (delta: 3 F E) and about n (F + E) / 2
/// (delta twice that).
///
/// exp(-B_j) must not overflow: whoever cuts the chunks keeps |B| within kDecayRange.
namespace weft::detail {

/// Tokens of the longest chunk, and of the row of scores.
inline constexpr Index kChunk = 48;

/// Sums of log decays of a chunk stay within it: what is lost to the rounding of B is kDecayRange
/// epsilon, about 1e-6 in fp32, and exp(kDecayRange) leaves room for the products.
template <class T>
inline constexpr T kDecayRange = sizeof(T) == 4 ? T(16) : T(64);

/// Rows of a block of the triangles, whole register tiles.
inline constexpr Index kTriangle = 12;

template <class T, class A>
class Chunk {
 public:
  /// Buffers of a head of F features and E channels; `pairs`: of k~, too.
  Chunk(Index features, Index value_dim, bool pairs, Arena& arena)
      : features_(features),
        padded_features(round_up(features, kWidth<T, A>)),
        feature_ld(padded_features + kWidth<T, A>),
        value_ld(round_up(value_dim, kWidth<T, A>)),
        q(arena.take<T>((pairs ? 2 : 1) * kChunk * feature_ld)),
        k(arena.take<T>(kChunk * feature_ld)),
        u(arena.take<T>(kChunk * value_ld)),
        o(arena.take<T>(kChunk * value_ld)),
        weights(arena.take<T>(kChunk)),
        denominators(arena.take<T>(kChunk)),
        transposed_(arena.take<T>(features * kChunk)),
        scores_(arena.take<T>((pairs ? 2 : 1) * kChunk * kChunk)) {}

  /// o = q~ S + lower(q~ k^T) u for n tokens, u being final.
  void attend(Index n, const T* s, Index s_ld, const T* z) noexcept {
    transpose_keys(n);
    scores(n, q, 0, scores_);
    if (z != nullptr) sum_weights(n, z);
    outputs(n, s, s_ld);
  }

  /// The same for the delta rule: u holds v and becomes what is written, `weights` are beta. False
  /// where u is not finite, and then nothing else is right.
  bool attend_delta(Index n, const T* s, Index s_ld) noexcept {
    T* k_scores = scores_ + kChunk * kChunk;
    transpose_keys(n);
    scores(n, q, 0, scores_);
    scores(n, second(), 1, k_scores);
    product(n, features_, second(), feature_ld, s, s_ld, o, false);
    solve(n, o, k_scores);
    if (!finite_updates(n)) return false;
    outputs(n, s, s_ld);
    return true;
  }

  /// Rows of k~.
  T* second() const noexcept { return q + kChunk * feature_ld; }

  /// Whether 0 u = 0 holds: if not, tokens must not meet later ones, not even by a zero.
  bool finite_updates(Index n) const noexcept {
    const Vec<T, A> zero(T(0));
    Vec<T, A> sum = zero;
    for (Index e = 0; e < n * value_ld; e += kWidth<T, A>) sum = mul_add(load<A>(u + e), zero, sum);
    return sum_lanes(sum) == T(0);
  }

  /// S += k^T u and z += sum of k^, after which both are to be decayed.
  void write(Index n, T* s, Index s_ld, T* z) noexcept {
    for (Index f = 0; f < features_; f += kBlock) {
      ahead.ask(kLinesPerBlock);
      strips_product<A, MultiplyAdd<T, A>>(std::min(kBlock, features_ - f), value_ld, n,
                                           transposed_ + f * kChunk, kRow, u, value_ld,
                                           s + f * s_ld, s_ld, true);
    }
    if (z == nullptr) return;
    for (Index r = 0; r < n; ++r)
      for (Index f = 0; f < features_; f += kWidth<T, A>)
        store<A>(z + f, load<A>(z + f) + load<A>(k + r * feature_ld + f));
  }

  /// The transpose of k^ alone, for sums without an order.
  void transpose_keys(Index n) noexcept {
    pack_rows<A>(k, Index{1}, feature_ld, features_, n, transposed_, kChunk);
  }

  /// to = x S; rows of x are feature_ld apart, of the result value_ld. S is read in blocks that
  /// stay in the L1 cache while all rows meet them.
  void product(Index rows, Index depth, const T* x, Index x_ld, const T* s, Index s_ld, T* to,
               bool accumulate) noexcept {
    constexpr Index kDepth = (32 << 10) / (kTileCols<T, A> * Index{sizeof(T)});
    for (Index d = 0; d < depth; d += kDepth)
      for (Index r = 0; r < rows; r += kBlock) {
        ahead.ask(kLinesPerBlock);
        strips_product<A, MultiplyAdd<T, A>>(
            std::min(kBlock, rows - r), value_ld, std::min(kDepth, depth - d), x + r * x_ld + d,
            x_ld, s + d * s_ld, s_ld, to + r * value_ld, value_ld, accumulate || d > 0);
      }
  }

 private:
  using Row = std::integral_constant<Index, kChunk>;
  static constexpr Row kRow{};
  static constexpr Index kBlock = 12, kLinesPerBlock = 32;

  /// to[i, j] = x_i . k^_j for j <= i, or j < i with strict = 1; zero behind them in the block.
  void scores(Index n, const T* x, Index strict, T* to) noexcept {
    constexpr Index W = kWidth<T, A>;
    for (Index r = 0; r < n; r += kTriangle) {
      ahead.ask(kLinesPerBlock);
      const Index rows = std::min(kTriangle, n - r), cols = round_up(r + rows, W);
      strips_product<A, MultiplyAdd<T, A>>(rows, cols, features_, x + r * feature_ld, feature_ld,
                                           transposed_, kChunk, to + r * kChunk, kChunk, false);
      for (Index i = r; i < r + rows; ++i)
        keep_first(i + 1 - strict, r / W * W, cols, to + i * kChunk);
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

  /// den_i = q~_i . z + sum of the scores of row i.
  void sum_weights(Index n, const T* z) noexcept {
    constexpr Index W = kWidth<T, A>;
    for (Index i = 0; i < n; ++i) {
      Vec<T, A> sum(T(0));
      for (Index c = 0; c < round_up(i + 1, W); c += W) sum += load<A>(scores_ + i * kChunk + c);
      for (Index f = 0; f < features_; f += W)
        sum = mul_add(load<A>(q + i * feature_ld + f), load<A>(z + f), sum);
      denominators[i] = sum_lanes(sum);
    }
  }

  /// o = q~ S + lower(scores) u. Rows behind the last token up to a whole tile are computed, too,
  /// from whatever the buffers hold.
  void outputs(Index n, const T* s, Index s_ld) noexcept {
    for (Index e = 0; e < value_ld; e += kTileCols<T, A>)
      for (Index r = 0; r < n; r += kTileRows) {
        ahead.ask(kLinesPerBlock);
        const Index vectors = std::min<Index>(kTileVectors<A>, (value_ld - e) / kWidth<T, A>);
        two_products_tile<A, kTileRows, kTileVectors<A>>(
            vectors, Operands<T, Index>{features_, q + r * feature_ld, feature_ld, s + e, s_ld},
            Operands<T, Row>{std::min(n, r + kTileRows), scores_ + r * kChunk, {}, u + e, value_ld},
            o + r * value_ld + e, value_ld);
      }
  }

  /// u <- (I + diag(beta) L)^-1 diag(beta) (u - read), forward substitution by blocks of rows.
  void solve(Index n, const T* read, T* lower) noexcept {
    for (Index i = 0; i < n; ++i)
      begin_row(weights[i], read + i * value_ld, u + i * value_ld, lower + i * kChunk, i);
    for (Index r = 0; r < n; r += kTileRows) {
      const Index rows = std::min<Index>(kTileRows, n - r);
      strips_product<A, MultiplyAdd<T, A>>(rows, value_ld, r, lower + r * kChunk, kRow, u, value_ld,
                                           u + r * value_ld, value_ld, true);
      for (Index i = r + 1; i < r + rows; ++i)
        for (Index j = r; j < i; ++j)
          add_scaled(lower[i * kChunk + j], u + j * value_ld, u + i * value_ld);
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
  Index padded_features;  ///< rows of q and k are zero up to here
  Index feature_ld, value_ld;
  T* q;  ///< rows of q~, and behind room for kChunk of them those of k~
  T* k;  ///< rows of k^
  T* u;  ///< what is written: v or its replacement
  T* o;
  T* weights;
  T* denominators;
  RowsAhead ahead;

 private:
  T* transposed_;
  T* scores_;
};

}  // namespace weft::detail
