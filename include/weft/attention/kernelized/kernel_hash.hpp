#pragma once

#include <weft/attention/kernelized/bit_codes.hpp>
#include <weft/attention/linear/projected_feature.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/row_access.hpp>

namespace weft {

/// Kernelised hash functions (Supervised Hashing with Kernels, CVPR 2012, as EcoFormer uses them,
/// arXiv:2209.09004): codes of R bits from m anchors, per head,
///
///   x' = x / |x|,  d_l = |x' - anchor_l|^2,  sigma = mean of d_l over all tokens and anchors
///   kappa_l = exp(-d_l / (2 sigma)) - mean_l
///   bit r = (A kappa)_r > 0                          A [H, R, m], anchors [H, m, C], mean [H, m]
///
/// sigma depends on the whole sequence of a head, so that codes of a prefix are not a prefix of the
/// codes. A token of zeros has x' = 0. The published sizes are R = 16, m = 25. How the parameters
/// are learned is not part of this. Throws where shapes disagree. Time 2 N m (C + R) per head.
template <class T = float>
class KernelHash {
 public:
  KernelHash(View<const T, 3> a, View<const T, 3> anchors, View<const T, 2> mean)
      : mix_(a),
        anchors_(anchors),
        mean_({a.extent(0), a.extent(2)}),
        squares_(mean_.shape()),
        centre_({a.extent(0), anchors.extent(2)}),
        mean_square_({a.extent(0)}) {
    const Index H = a.extent(0), m = a.extent(2);
    require(anchors.extent(0) == H && anchors.extent(1) == m && mean.shape() == mean_.shape(),
            "KernelHash: a is ", a, ", anchors ", anchors, ", mean ", mean,
            "; wanted [H, R, m], [H, m, C], [H, m]");
    require(m >= 1 && a.extent(1) >= 1, "KernelHash: there are no anchors or no bits");
    for (Index h = 0; h < H; ++h)
      for (Index l = 0; l < m; ++l) {
        mean_(h, l) = mean(h, l);
        double square = 0;
        for (Index c = 0; c < anchors.extent(2); ++c) {
          const double x = static_cast<double>(anchors(h, l, c));
          square += x * x;
          centre_(h, c) += x / static_cast<double>(m);
        }
        squares_(h, l) = static_cast<T>(square);
        mean_square_(h) += square / static_cast<double>(m);
      }
  }

  Index heads() const noexcept { return mean_.extent(0); }
  Index bits() const noexcept { return mix_.features(); }
  Index dim() const noexcept { return anchors_.dim(); }

  /// Codes of x [B, H, N, C].
  template <class A = DefaultArch, ViewLike<4> X>
  BitCodes operator()(const X& x, const Context& ctx = Context()) const {
    using S = typename decltype(view_of(x))::value_type;
    static_assert(std::is_same_v<T, Accumulator<S>>, "KernelHash: T must be that of the sums");
    const View<const S, 4> tokens = view_of(x);
    require(tokens.extent(1) == heads() && tokens.extent(3) == dim(), "KernelHash of ", heads(),
            " heads and ", dim(), " channels: x is ", tokens);
    require(tokens.stride(3) == 1 || dim() == 1, "KernelHash: channels must be contiguous");
    BitCodes codes(tokens.extent(0), heads(), tokens.extent(2), bits());
    const auto rows = detail::input_rows<T, A>(tokens, 1);
    ctx.parallel(codes.batch() * heads(), [&](Index task, Arena& arena) {
      hash_head<A>(rows, task / heads(), task % heads(), arena, codes);
    });
    return codes;
  }

 private:
  static constexpr Index kRows = 48;

  template <class A>
  void hash_head(const detail::InputRows<T>& from, Index b, Index h, Arena& arena,
                 BitCodes& codes) const {
    constexpr Index W = kWidth<T, A>;
    const Index N = codes.tokens(), m = mean_.extent(1);
    const Index x_ld = round_up(dim(), W), k_ld = round_up(m, W), y_ld = round_up(bits(), W);
    T* x = arena.take<T>(kRows * x_ld);
    T* kappa = arena.take<T>(kRows * k_ld);
    T* y = arena.take<T>(kRows * y_ld);
    T* squares = arena.take<T>(kRows);
    const auto load = [&](Index i, Index n) {
      from.read(b, h, i, n, dim(), x_ld, x, x_ld);
      for (Index r = 0; r < n; ++r) squares[r] = normalize<A>(x + r * x_ld);
    };
    const double sigma = mean_distance(h, N, arena, x, x_ld, squares, load);
    const T exponent = static_cast<T>(-1 / (2 * sigma));
    for (Index i = 0; i < N; i += kRows) {
      const Index n = std::min(kRows, N - i);
      load(i, n);
      anchors_.template apply<A>({x, x_ld, kappa, k_ld, n, dim(), b, h, i, i, true});
      for (Index r = 0; r < n; ++r) to_kernel<A>(h, squares[r], exponent, kappa + r * k_ld);
      mix_.template apply<A>({kappa, k_ld, y, y_ld, n, m, b, h, i, i, true});
      for (Index r = 0; r < n; ++r)
        for (Index bit = 0; bit < bits(); ++bit)
          codes.set(b, h, i + r, bit, y[r * y_ld + bit] > T(0));
    }
  }

  /// x' in place of x; the result is its squared length.
  template <class A>
  T normalize(T* x) const noexcept {
    const T length = std::sqrt(row_sum_of_squares<A>(x, dim()));
    if (length == T(0)) return 0;
    detail::times_row<A>(1 / length, x, dim(), x);
    return 1;
  }

  /// mean |x'|^2 + mean |anchor|^2 - 2 (mean x') . (mean anchor): no distance is needed.
  template <class Load>
  double mean_distance(Index h, Index N, Arena& arena, const T* x, Index x_ld, const T* squares,
                       Load load) const {
    double* sum = arena.take<double>(dim());
    std::fill_n(sum, dim(), 0.0);
    double square = 0, product = 0;
    for (Index i = 0; i < N; i += kRows) {
      const Index n = std::min(kRows, N - i);
      load(i, n);
      for (Index r = 0; r < n; ++r) {
        square += static_cast<double>(squares[r]);
        for (Index c = 0; c < dim(); ++c) sum[c] += static_cast<double>(x[r * x_ld + c]);
      }
    }
    const double count = static_cast<double>(std::max<Index>(N, 1));
    for (Index c = 0; c < dim(); ++c) product += sum[c] / count * centre_(h, c);
    return square / count + mean_square_(h) - 2 * product;
  }

  /// Products with the anchors become kappa.
  template <class A>
  void to_kernel(Index h, T square, T exponent, T* row) const noexcept {
    constexpr Index W = kWidth<T, A>;
    using V = Vec<T, A>;
    const Index m = mean_.extent(1);
    for (Index l = 0; l < m; l += W) {
      const Index lanes = std::min(W, m - l);
      const V anchor = load_partial<A>(&squares_(h, l), lanes) + V(square);
      const V product = load_partial<A>(row + l, lanes);
      const V distance = xsimd::max(V(T(0)), V(anchor - product - product));
      const V kappa = math::exp(V(distance * V(exponent))) - load_partial<A>(&mean_(h, l), lanes);
      store_partial<A>(row + l, kappa, lanes);
    }
  }

  FeatureWeights<T> mix_, anchors_;
  Tensor<T, 2> mean_, squares_;    // [H, m]
  Tensor<double, 2> centre_;       // [H, C]
  Tensor<double, 1> mean_square_;  // [H]
};

}  // namespace weft
