#pragma once

#include <weft/attention/softmax/pattention.hpp>
#include <weft/attention/softmax/weigh.hpp>
#include <weft/layer/operator.hpp>

namespace weft {

namespace detail {

/// Logits of one block of rows: about half of a second-level cache of 2 MB, but not so few rows
/// that the matrix products starve.
inline constexpr Index kTokenBytes = 1 << 20;
inline constexpr Index kTokenRows = 96;

/// C(m, n) = factors[m] acc.
template <class T>
struct RowFactors {
  const T* factors;

  template <class V>
  V operator()(V acc, Index row, Index, Index) const noexcept {
    return acc * V(factors[row]);
  }
};

}  // namespace detail

/// Pattention (see pattention.hpp) as an operator, for tokens that are parameters:
///
///   y = w V,   w = normalizer(scale x K^T)        x [n, C], K [S, C], V [S, O], y [n, O]
///
/// It models Operator, so that it stands wherever a linear layer can. Keys and values are operators
/// themselves, dense and packed once, or quantized: `keys` has S rows and C columns, `values`,
/// which is V^T, O rows and S columns. Logits of a block of rows stay in the cache between the two
/// products, so that normalizers with two passes compute them once, where `forward` of the engine
/// would twice.
///
///   ParameterTokens layer(DenseOperator(K), DenseOperator(V.transpose(0, 1)), NormalizedGelu{});
///   layer.apply(x, y);
///
/// Any normalizer, no mask and no score. Elements of x and y fp32 or fp64, both the same. Throws
/// where operators or shapes disagree and what the normalizer throws. Time 2 n S (C + O)
/// operations, scratch memory 1 MiB or 96 rows of S logits.
template <FusedOperator Op = DenseOperator<float>, Normalizer Z = NormalizedGelu,
          class A = DefaultArch>
class ParameterTokens {
 public:
  ParameterTokens(Op keys, Op values, Z normalizer = {}, double scale = 1)
      : keys_(std::move(keys)), values_(std::move(values)), normalizer_(normalizer), scale_(scale) {
    require(keys_.rows() == values_.cols(), "ParameterTokens: ", keys_.rows(), " keys and ",
            values_.cols(), " values; wanted one of each per token");
    require(std::isfinite(scale), "ParameterTokens: scale must be finite, got ", scale);
  }

  Index rows() const { return values_.rows(); }
  Index cols() const { return keys_.cols(); }
  Index tokens() const { return keys_.rows(); }

  template <class X, class T>
  void apply(View<X, 2> x, View<T, 2> y, const Context& ctx = Context{}) const {
    static_assert(std::is_same_v<std::remove_const_t<X>, T> && std::is_same_v<Accumulator<T>, T>,
                  "ParameterTokens: x and y are both float or both double");
    const Index n = x.extent(0);
    require(x.extent(1) == cols() && y.extent(1) == rows() && y.extent(0) == n,
            "ParameterTokens: x is ", x, ", y is ", y, "; wanted [n, ", cols(), "] and [n, ",
            rows(), "]");
    detail::check_policy(normalizer_, 1, 1, n, tokens());
    const Index ld = round_up(tokens(), kWidth<T, A>);
    const Index fitting = detail::kTokenBytes / (ld * Index{sizeof(T)} + 1);
    const Index block = std::min(n, std::max(detail::kTokenRows, fitting));
    const Arena::Frame frame(ctx.arena());
    T* logits = ctx.arena().template take<T>(block * ld);
    T* factors = ctx.arena().template take<T>(block);
    const double scale = scale_ * Policies::template query_factor<double>;
    for (Index first = 0; first < n; first += block) {
      const Index count = std::min(block, n - first);
      const View<T, 2> a(logits, {count, tokens()}, {ld, 1});
      keys_.apply(View<const T, 2>(x.slice(0, first, count)), a, Scale{scale}, ctx);
      weigh(a, n, first, factors, ctx);
      values_.apply(View<const T, 2>(a), y.slice(0, first, count), detail::RowFactors<T>{factors},
                    ctx);
    }
  }

 private:
  using Policies = detail::Policies<NoMask, NoScore, Z>;

  /// Logits become weights, row by row; factors[r] is what is left for the output of row r.
  template <class T>
  void weigh(const View<T, 2>& a, Index n, Index first, T* factors, const Context& ctx) const {
    constexpr Index kRows = 8;  // of one task
    ctx.parallel(ceil_div(a.extent(0), kRows), [&](Index task, Arena& arena) {
      const Index end = std::min(a.extent(0), (task + 1) * kRows);
      for (Index r = task * kRows; r < end; ++r) {
        const Row row{0, 0, first + r, n, tokens()};
        factors[r] = weigh_one(a.pointer(r), row, arena);
      }
    });
  }

  template <class T>
  T weigh_one(T* logits, const Row& row, Arena& arena) const {
    using namespace detail;
    const Arena::Frame frame(arena);
    const NoMask mask;
    const NoScore score;
    T m = kHidden<T>, l = T(0);
    RowState<T> state{&m, &l, nullptr};
    if constexpr (TwoPassNormalizer<Z>)
      state.statistic = arena.take<T>(normalizer_.statistic().size());
    for_each_pass<Z>(true, [&](Pass pass) {
      if constexpr (!OnlineNormalizer<Z>) begin_row(normalizer_, pass, state);
      weigh_rows<T, A>(
          Policies{mask, score}, normalizer_, 1, false, pass, 0, 0, row.keys, logits, 0,
          [&](Index) { return row; }, [&](Index) { return state; }, [&](Index) { return logits; });
    });
    return normalizer_.factor(m, l, row);
  }

  Op keys_, values_;
  Z normalizer_;
  double scale_;
};

}  // namespace weft
