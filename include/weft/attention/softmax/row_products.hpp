#pragma once

#include <weft/attention/softmax/token_span.hpp>
#include <weft/core/register_pair.hpp>

#include <algorithm>
#include <type_traits>

/// The two products of a tile of attention with few query rows, on tokens where they lie in memory:
/// nothing is packed or copied, and narrow storage is widened in registers. Reading K and V once is
/// the whole cost.
///
/// Tokens are read one after the other and each from end to end: hardware prefetchers follow one
/// ascending stream at the full rate of memory, and several that take turns at less than half of
/// it.
namespace weft::detail {

/// Tokens of which the weighted values are summed on their own, in registers. Where registers hold
/// only part of a row the tokens are read several times: so few that reading on keeps its order.
template <class A>
inline constexpr Index kValueTokens = kRegisters<A> / 2;

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
    const Index block =
        std::max(W * of(source)->key_dim(), kValueTokens<A> * of(source)->value_dim());
    return rows * padded_dim(*of(source)) + round_up(block, W);
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
    const Index dim = of(source)->key_dim(), padded = padded_dim(*of(source));
    T* block = q + tile.rows * padded;
    in_row_tiles<kMostRows>(tile.rows, [&]<int R>(std::integral_constant<int, R>, Index r) {
      TokenSpan<KeyStorage> keys{};
      for (Index j = 0; j < tile.count; j += W, keys = keys.from(W)) {
        if (keys.count < W) keys = token_block<false>(*of(source), tile, j, W, block);
        dot_rows<R>(q + r * padded, dim, keys.at, keys.step, keys.ahead, keys.scattered,
                    s + r * s_ld + j, s_ld);
      }
    });
  }

  static void add_values(const void* source, const KvTile& tile, const T* p, Index p_ld, T* scratch,
                         T* acc, Index acc_ld) noexcept {
    const Index dim = of(source)->value_dim();
    T* block = scratch + tile.rows * padded_dim(*of(source));
    TokenSpan<ValueStorage> values{};
    for (Index j = 0; j < tile.count; j += kValueTokens<A>) {
      const Index n = std::min(kValueTokens<A>, tile.count - j);
      if (values.count < n) values = token_block<true>(*of(source), tile, j, n, block);
      in_row_tiles<2>(tile.rows, [&]<int R>(std::integral_constant<int, R>, Index r) {
        add_tokens<R>(p + r * p_ld + j, p_ld, values.at, values.step, r > 0 ? 0 : values.ahead,
                      r == 0 && values.scattered, n, dim, acc + r * acc_ld, acc_ld);
      });
      values = values.from(n);
    }
  }

  /// Whether 0 v = 0 for all values of a tile.
  static bool values_finite(const void* source, const KvTile& tile) noexcept {
    const Index dim = of(source)->value_dim();
    TokenSpan<ValueStorage> values{};
    V poison(T(0));
    for (Index j = 0; j < tile.count; ++j, values = values.from(1)) {
      if (values.count == 0) values = token_span<true>(*of(source), tile, j);
      for (Index d = 0; d < dim; d += W) {
        const V v = load_some(values.at + d, dim - d);
        poison += v - v;
      }
    }
    return sum_lanes(poison) == T(0);
  }

 private:
  using V = Vec<T, A>;
  using Run = decltype(std::declval<const Source&>().run(0, 0, 0));
  using KeyStorage = std::remove_cvref_t<decltype(*Run::keys)>;
  using ValueStorage = std::remove_cvref_t<decltype(*Run::values)>;
  using KeyPair = RegisterPair<T, A, KeyStorage>;
  using ValuePair = RegisterPair<T, A, ValueStorage>;
  static constexpr int W = static_cast<int>(kWidth<T, A>);
  static constexpr int kMostRows = std::min(4, W);
  static constexpr int kMostKeyVectors = 16;
  static constexpr int kMostValueVectors = kRegisters<A> / 2;

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

  /// f(N, d) for parts of a row of N registers from d on: Most or a smaller power of two, at last
  /// one that may be partial.
  ///
  /// The functions that do the work take few arguments and have no loop of unknown length inside
  /// that of tokens: with more addresses compilers keep some in vector registers, and then reading
  /// on has to wait for arithmetic.
  template <int Most, class F>
  [[gnu::always_inline]] static void in_parts(Index dim, F f, Index d = 0) noexcept {
    for (; d + Most * W <= dim; d += Most * W) f(std::integral_constant<int, Most>{}, d);
    if constexpr (Most > 2)
      in_parts<Most / 2>(dim, f, d);
    else
      for (; d < dim; d += W) f(std::integral_constant<int, 1>{}, d);
  }

  /// s[r, c] = q_r . k_c, for R rows and W tokens.
  template <int R>
  [[gnu::noinline]] static void dot_rows(const T* q, Index dim, const KeyStorage* k, Index step,
                                         Index ahead, bool scattered, T* s, Index s_ld) noexcept {
    V sums[R][W / R];
    in_parts<kMostKeyVectors>(dim, [&]<int N>(std::integral_constant<int, N>, Index d) {
      if constexpr (N == 1)
        dot_column<R>(q + d * R, k + d, step, dim - d, d == 0, sums);
      else
        dot_part<R, N>(q + d * R, k + d, step, ahead, scattered, d == 0, sums);
    });
    for (int g = 0; g < R; ++g) store_parts<R>(sum_rows<W / R>(sums[g]), s + g * (W / R), s_ld);
  }

  /// sums[c] (+)= q_r . k_c over N registers, a whole number of pairs, for R rows and W tokens: of
  /// each row W / R partial sums.
  template <int R, int N>
  [[gnu::always_inline]] static void dot_part(const T* q, const KeyStorage* k, Index step,
                                              Index ahead, bool scattered, bool first,
                                              V (&sums)[R][W / R]) noexcept {
#pragma GCC unroll 1
    for (auto& group : sums)
#pragma GCC unroll 1
      for (V& sum : group) {
        ask_memory<N * W>(k + ahead, scattered);
        V even[R], odd[R];
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) even[r] = odd[r] = V(T(0));
#pragma GCC unroll 8
        for (int v = 0; v < N; v += 2) {
          const auto pair = KeyPair::load(k + v * W);
          dot_register<R>(q + v * R * W, pair[0], even);
          dot_register<R>(q + (v + 1) * R * W, pair[1], odd);
        }
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) even[r] += odd[r];
        const V parts = sum_rows<R>(even);
        sum = first ? parts : sum + parts;
        k += step;
      }
  }

  /// The same for one register, the last ones of a row: it may be less than full.
  template <int R>
  static void dot_column(const T* q, const KeyStorage* k, Index step, Index dim, bool first,
                         V (&sums)[R][W / R]) noexcept {
    for (auto& group : sums)
      for (V& sum : group) {
        V part[R];
#pragma GCC unroll 4
        for (V& x : part) x = V(T(0));
        dot_register<R>(q, load_some(k, dim), part);
        const V parts = sum_rows<R>(part);
        sum = first ? parts : sum + parts;
        k += step;
      }
  }

  template <int R>
  [[gnu::always_inline]] static void dot_register(const T* q, V k, V (&sums)[R]) noexcept {
    keep_in_register(k);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sums[r] = mul_add(load<A>(q + r * W), k, sums[r]);
  }

  /// Part r of a register, one of R, to row r.
  template <int R>
  [[gnu::always_inline]] static void store_parts(const V& x, T* s, Index s_ld) noexcept {
    if constexpr (R == 1) return store<A>(s, x);
    alignas(64) T lanes[W];
    store<A>(lanes, x);
    for (int r = 0; r < R; ++r) std::copy_n(lanes + r * (W / R), W / R, s + r * s_ld);
  }

  /// acc[r, :] += sum over n tokens of p[r, .] v, for R rows.
  template <int R>
  [[gnu::noinline]] static void add_tokens(const T* p, Index p_ld, const ValueStorage* v,
                                           Index step, Index ahead, bool scattered, Index n,
                                           Index dim, T* acc, Index acc_ld) noexcept {
    in_parts<kMostValueVectors>(dim, [&]<int N>(std::integral_constant<int, N>, Index d) {
      if constexpr (R * N > kMostValueVectors)
        for (int r = 0; r < R; ++r)
          add_part<1, N>(p + r * p_ld, p_ld, v + d, step, r > 0 ? 0 : ahead, r == 0 && scattered, n,
                         acc + r * acc_ld + d, acc_ld);
      else if constexpr (N > 1)
        add_part<R, N>(p, p_ld, v + d, step, ahead, scattered, n, acc + d, acc_ld);
      else
        add_column<R>(p, p_ld, v + d, step, n, dim - d, acc + d, acc_ld);
    });
  }

  /// The same for N registers, a whole number of pairs.
  template <int R, int N>
  [[gnu::always_inline]] static void add_part(const T* p, Index p_ld, const ValueStorage* values,
                                              Index step, Index ahead, bool scattered, Index n,
                                              T* acc, Index acc_ld) noexcept {
    V sums[R][N];
#pragma GCC unroll 2
    for (auto& row : sums)
#pragma GCC unroll 16
      for (V& sum : row) sum = V(T(0));
    for (; n > 0; --n, values += step, ++p) {
      ask_memory<N * W>(values + ahead, scattered);
#pragma GCC unroll 8
      for (int v = 0; v < N; v += 2) {
        auto pair = ValuePair::load(values + v * W);
        if constexpr (R > 1)
          for (V& b : pair) keep_in_register(b);
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) {
          const V x(p[r * p_ld]);
          sums[r][v] = mul_add(x, pair[0], sums[r][v]);
          sums[r][v + 1] = mul_add(x, pair[1], sums[r][v + 1]);
        }
      }
    }
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r, acc += acc_ld)
#pragma GCC unroll 8
      for (int v = 0; v < N; v += 2) {
        const auto sum = ValuePair::halves(sums[r][v], sums[r][v + 1]);
        store<A>(acc + v * W, load<A>(acc + v * W) + sum[0]);
        store<A>(acc + (v + 1) * W, load<A>(acc + (v + 1) * W) + sum[1]);
      }
  }

  /// The same for one register, the last ones of a row: it may be less than full.
  template <int R>
  static void add_column(const T* p, Index p_ld, const ValueStorage* values, Index step, Index n,
                         Index dim, T* acc, Index acc_ld) noexcept {
    V sums[R];
#pragma GCC unroll 2
    for (V& sum : sums) sum = V(T(0));
    for (Index k = 0; k < n; ++k) {
      const V b = load_some(values + k * step, dim);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) sums[r] = mul_add(V(p[r * p_ld + k]), b, sums[r]);
    }
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) store<A>(acc + r * acc_ld, load<A>(acc + r * acc_ld) + sums[r]);
  }
};

}  // namespace weft::detail
