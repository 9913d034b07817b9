#pragma once

#include <weft/attention/softmax/token_list.hpp>
#include <weft/core/register_pair.hpp>

#include <algorithm>
#include <type_traits>

/// The two products of a tile of attention with few query rows, on tokens where they lie in memory:
/// nothing is packed or copied, and narrow storage is widened in registers. Reading K and V once is
/// the whole cost.
///
/// Memory is asked for the tokens that come next by and by, with the steps of the products: a burst
/// would occupy all outstanding misses of the core, and arithmetic would wait behind it.
namespace weft::detail {

/// Tokens of which the weighted values are summed on their own, in registers.
inline constexpr Index kValueTokens = 32;

/// f(rows of a register tile, first row) for all rows: fours, and what is left in 2 and 1.
template <int Most, class F>
void in_row_tiles(Index rows, F f) noexcept {
  Index r = 0;
  if constexpr (Most >= 4)
    for (; r + 4 <= rows; r += 4) f(std::integral_constant<int, 4>{}, r);
  for (; r + 2 <= rows; r += 2) f(std::integral_constant<int, 2>{}, r);
  if (r < rows) f(std::integral_constant<int, 1>{}, r);
}

/// The products of a KvRunSource, as KvProducts has them.
template <class T, class A, class Source>
class RowProducts {
 public:
  static Index scratch_size(const void* source, Index rows) noexcept {
    return rows * padded_dim(*of(source));
  }

  /// The queries as dot_rows reads them: registers of a tile's rows in turn, in the keys' order.
  static void begin(const void* source, const T* q, Index q_ld, Index rows, T* scratch) noexcept {
    const Index dim = of(source)->key_dim();
    in_row_tiles<kMostRows>(rows, [&]<int R>(std::integral_constant<int, R>, Index first) {
      T* to = scratch + first * padded_dim(*of(source));
      for (Index r = 0; r < R; ++r) put_query<R>(q + (first + r) * q_ld, dim, to + r * W);
    });
  }

  static void logits(const void* source, const KvTile& tile, const T*, Index, T* q, T* s,
                     Index s_ld) noexcept {
    const Keys keys(*of(source), tile, round_up(tile.count, W));
    const Index dim = of(source)->key_dim();
    in_row_tiles<kMostRows>(tile.rows, [&]<int R>(std::integral_constant<int, R>, Index r) {
      for (Index j = 0; j < tile.count; j += W / R)
        dot_rows<R>(q + r * padded_dim(*of(source)), dim, keys, j, s + r * s_ld + j, s_ld);
    });
  }

  static void add_values(const void* source, const KvTile& tile, const T* p, Index p_ld, T*, T* acc,
                         Index acc_ld) noexcept {
    const Values values(*of(source), tile, tile.count);
    const Index dim = of(source)->value_dim(), lines = ceil_div(dim, Index{Values::kLine});
    for (Index j = 0; j < tile.count; j += kValueTokens) {
      const Index n = std::min(kValueTokens, tile.count - j);
      LinesAhead<Values> ahead(values, j, n, lines);
      in_row_tiles<4>(tile.rows, [&]<int R>(std::integral_constant<int, R>, Index r) {
        const Weights w{p + r * p_ld + j, p_ld, j, n};
        T* to = acc + r * acc_ld;
        Index d = 0;
        for (; d + kMostVectors * W <= dim; d += kMostVectors * W)
          add_rows<R, kMostVectors>(w, values, d, to + d, acc_ld, ahead);
        if (kMostVectors > 2 && d + 2 * W <= dim) {
          add_rows<R, 2>(w, values, d, to + d, acc_ld, ahead);
          d += 2 * W;
        }
        for (; d < dim; d += W) add_column<R>(w, values, d, dim, to + d, acc_ld, ahead);
      });
    }
  }

  /// Whether 0 v = 0 for all values of a tile.
  static bool values_finite(const void* source, const KvTile& tile) noexcept {
    const Values values(*of(source), tile, tile.count);
    const Index dim = of(source)->value_dim();
    V poison(T(0));
    for (Index j = 0; j < tile.count; ++j)
      for (Index d = 0; d < dim; d += W) {
        const V v = load_some(values.at(j) + d, dim - d);
        poison += v - v;
      }
    return sum_lanes(poison) == T(0);
  }

 private:
  using V = Vec<T, A>;
  using Keys = TokenList<Source, false>;
  using Values = TokenList<Source, true>;
  using KeyPair = RegisterPair<T, A, typename Keys::Storage>;
  using ValuePair = RegisterPair<T, A, typename Values::Storage>;
  static constexpr int W = static_cast<int>(kWidth<T, A>);
  static constexpr int kMostRows = std::min(4, W);
  static constexpr int kMostVectors = kRegisters<A> == 32 ? 4 : 2;  ///< of a tile of sums

  static const Source* of(const void* source) noexcept {
    return static_cast<const Source*>(source);
  }
  static Index padded_dim(const Source& source) noexcept { return round_up(source.key_dim(), W); }

  template <class S>
  [[gnu::always_inline]] static V load_some(const S* p, Index n) noexcept {
    return n >= W ? load_as<T, A>(p) : load_as_partial<T, A>(p, n);
  }

  /// Row `q`, its registers R apart.
  template <int R>
  static void put_query(const T* q, Index dim, T* to) noexcept {
    Index d = 0;
    for (; d + 2 * W <= dim; d += 2 * W) {
      const auto pair = KeyPair::arrange(q + d);
      store<A>(to + d * R, pair[0]);
      store<A>(to + (d + W) * R, pair[1]);
    }
    for (; d < dim; d += W) store<A>(to + d * R, load_some(q + d, dim - d));
  }

  /// s[r, c] = q_r . k_(j + c), for R rows and W / R tokens: W sums, reduced at once. Not inlined:
  /// beside other row counts its addresses would be spilled.
  template <int R>
  [[gnu::noinline]] static void dot_rows(const T* q, Index dim, const Keys& list, Index j, T* s,
                                         Index s_ld) noexcept {
    constexpr int C = W / R, G = std::min(4, C);
    V sums[W];
    for (int c = 0; c < C; c += G) dot_tokens<R, G>(q, dim, list, j + c, sums + c);
    store_parts<R>(sum_rows<W>(sums), s, s_ld);
  }

  /// Partial sums of q_r . k_(j + g), for R rows and G tokens, in sums[r * (W / R) + g].
  template <int R, int G>
  [[gnu::always_inline]] static void dot_tokens(const T* q, Index dim, const Keys& list, Index j,
                                                V* sums) noexcept {
    using S = typename Keys::Storage;
    const S* keys[G];
    const S* next[G];
    V part[R][G];
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) {
      keys[g] = list.at(j + g);
      next[g] = list.next(j + g);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) part[r][g] = V(T(0));
    }
    Index d = 0;
    for (; d + 2 * W <= dim; d += 2 * W) {
      ask_keys<G>(next, d);
      V k[2][G];
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const auto pair = KeyPair::load(keys[g] + d);
        k[0][g] = pair[0];
        k[1][g] = pair[1];
        keep_in_register(k[0][g]);
        keep_in_register(k[1][g]);
      }
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half)
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          V x = load<A>(q + (d + half * W) * R + r * W);
          keep_in_register(x);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) part[r][g] = mul_add(x, k[half][g], part[r][g]);
        }
    }
    for (; d < dim; d += W)
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const V k = load_some(keys[g] + d, dim - d);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) part[r][g] = mul_add(load<A>(q + d * R + r * W), k, part[r][g]);
      }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) std::copy_n(part[r], G, sums + r * (W / R));
  }

  /// Asks memory for 2 W elements, from d on, of the tokens that come next.
  template <int G, class S>
  [[gnu::always_inline]] static void ask_keys(const S* const (&next)[G], Index d) noexcept {
    constexpr int kLines = std::max(1, 2 * W / Keys::kLine);
    if (2 * W < Keys::kLine && d % Keys::kLine != 0) return;
#pragma GCC unroll 32
    for (int i = 0; i < G * kLines; ++i)
      __builtin_prefetch(next[i % G] + d + i / G * Keys::kLine, 0, 2);
  }

  /// Part r of a register, one of R, to row r.
  template <int R>
  [[gnu::always_inline]] static void store_parts(const V& x, T* s, Index s_ld) noexcept {
    if constexpr (R == 1) return store<A>(s, x);
    alignas(64) T lanes[W];
    store<A>(lanes, x);
    for (int r = 0; r < R; ++r) std::copy_n(lanes + r * (W / R), W / R, s + r * s_ld);
  }

  /// Weights of some rows for n tokens from j on.
  struct Weights {
    const T* p;
    Index ld, j, n;
  };

  /// acc[r, :] += sum over tokens of p[r, .] v[d ...], for R rows and N registers, a whole number
  /// of pairs.
  template <int R, int N>
  static void add_rows(const Weights& w, const Values& list, Index d, T* acc, Index acc_ld,
                       LinesAhead<Values>& ahead) noexcept {
    V sums[R][N];
#pragma GCC unroll 4
    for (auto& row : sums)
#pragma GCC unroll 4
      for (V& sum : row) sum = V(T(0));
    for (Index k = 0; k < w.n; ++k) {
      ask<N>(k, ahead);
      const auto* at = list.at(w.j + k) + d;
      V b[N];
#pragma GCC unroll 2
      for (int v = 0; v < N; v += 2) {
        const auto pair = ValuePair::load(at + v * W);
        b[v] = pair[0];
        b[v + 1] = pair[1];
      }
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const V x(w.p[r * w.ld + k]);
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) sums[r][v] = mul_add(x, b[v], sums[r][v]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < N; v += 2) {
        T* to = acc + r * acc_ld + v * W;
        const auto sum = ValuePair::halves(sums[r][v], sums[r][v + 1]);
        store<A>(to, load<A>(to) + sum[0]);
        store<A>(to + W, load<A>(to + W) + sum[1]);
      }
  }

  /// The same for one register, the last ones of a row: it may be less than full.
  template <int R>
  static void add_column(const Weights& w, const Values& list, Index d, Index dim, T* acc,
                         Index acc_ld, LinesAhead<Values>& ahead) noexcept {
    V sums[R];
#pragma GCC unroll 4
    for (V& sum : sums) sum = V(T(0));
    for (Index k = 0; k < w.n; ++k) {
      ask<1>(k, ahead);
      const V b = load_some(list.at(w.j + k) + d, dim - d);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sums[r] = mul_add(V(w.p[r * w.ld + k]), b, sums[r]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) store<A>(acc + r * acc_ld, load<A>(acc + r * acc_ld) + sums[r]);
  }

  /// With token k: over kAheadPlaces tokens, as many lines as N registers of so many tokens have.
  template <int N>
  [[gnu::always_inline]] static void ask(Index k, LinesAhead<Values>& ahead) noexcept {
    constexpr int kLines = (N * W + Values::kLine - 1) / Values::kLine;
    if (kLines >= kAheadPlaces || k % (kAheadPlaces / kLines) == 0) ahead.ask();
  }
};

}  // namespace weft::detail
