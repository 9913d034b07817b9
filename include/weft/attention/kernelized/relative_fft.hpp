#pragma once

#include <weft/attention/kernelized/toeplitz.hpp>
#include <weft/attention/softmax/mixer.hpp>
#include <weft/core/math.hpp>
#include <weft/layer/norm.hpp>

#include <limits>

namespace weft {

/// How RelativeKernel is evaluated: by tiles of all pairs, or by transforms.
enum class RelativeMethod { by_cost, direct, fft };

struct RelativeKernelOptions {
  bool causal = false;
  bool normalize = true;  ///< q and k to length 1; else both times D^(-1/4)
  RelativeMethod method = RelativeMethod::by_cost;
};

/// Kernelized attention with relative positions (Stable, Fast and Accurate: Kernelized Attention
/// with Relative Positional Encoding, arXiv:2106.12566).
///
///   phi(x)_r = exp(w_r . x - |x|^2 / 2)                     r < m, w_r the rows of W [m, D]
///   w_ij     = exp(b_{j - i}) phi(q_i) . phi(k_j)           j <= i only where causal
///   out_i    = sum_j w_ij v_j / sum_j w_ij
///
/// q, k [B, H, N, D], v, out [B, H, N, E]; b [H, 2 N - 1], b_d at column d + N - 1; float or
/// double, one type for all. With `normalize` (NPRF) q and k are first divided by their lengths,
/// which bounds the weights; without (PRF) they are multiplied by D^(-1/4), so that phi . phi is an
/// estimate of exp(q . k / sqrt(D)). A row whose weights are all 0 gives 0.
///
/// Factors that cancel are left out: 1 / sqrt(m), the largest b of a head, the largest exponent of
/// each query and that of all keys of a head.
///
/// Two ways to the same sums. Direct: tiles of pairs on the softmax engine, time O(N^2 (m + E)). By
/// transforms: m (E + 1) columns phi(k_j)_r v_je and phi(k_j)_r, each times the Toeplitz matrix
/// exp(b_{j-i}), then contracted with phi(q_i) - never stored, a few columns at a time; time
/// O(m E L log L), memory O(L) per worker. Transforms round relative to the largest sum rather than
/// to each: where exp(b) falls by many orders of magnitude, choose direct. `by_cost` takes the
/// cheaper one, E taken as D; see kRelativeFftCost.
///
/// Throws weft::error where shapes do not fit or no b is finite.
template <class T = float, class A = DefaultArch>
class RelativeKernel {
 public:
  /// W is kept as a view, b is not.
  RelativeKernel(View<const T, 2> projection, View<const T, 2> bias,
                 RelativeKernelOptions options = {})
      : projection_(projection),
        options_(options),
        matrix_(weights_of(bias, options.causal), method_for(projection, bias, options)) {}

  View<const T, 2> projection() const noexcept { return projection_; }
  const RelativeKernelOptions& options() const noexcept { return options_; }
  /// exp(b), but for a factor per head.
  const Toeplitz<T, A>& matrix() const noexcept { return matrix_; }

  /// Time of one of the L log2 L steps of a transform over that of one pair in one channel of the
  /// direct form, as measured.
  static constexpr double kRelativeFftCost = 5;

 private:
  static Tensor<double, 2> weights_of(View<const T, 2> bias, bool causal) {
    Tensor<double, 2> c(bias.shape());
    const Index seen = causal ? (bias.extent(1) + 1) / 2 : bias.extent(1);
    for (Index h = 0; h < bias.extent(0); ++h) {
      double top = -std::numeric_limits<double>::infinity();
      for (Index d = 0; d < seen; ++d) top = std::max(top, static_cast<double>(bias(h, d)));
      require(std::isfinite(top), "RelativeKernel: the largest bias of head ", h, " is ", top);
      for (Index d = 0; d < seen; ++d) c(h, d) = std::exp(static_cast<double>(bias(h, d)) - top);
    }
    return c;
  }

  static ToeplitzMethod method_for(View<const T, 2> projection, View<const T, 2> bias,
                                   const RelativeKernelOptions& options) {
    if (options.method == RelativeMethod::direct) return ToeplitzMethod::direct;
    if (options.method == RelativeMethod::fft) return ToeplitzMethod::fft;
    const double m = static_cast<double>(projection.extent(0));
    const double D = static_cast<double>(projection.extent(1));
    const double N = static_cast<double>(bias.extent(1) + 1) / 2;
    const double L = std::exp2(std::ceil(std::log2(2 * N)));
    const double transforms = kRelativeFftCost * m * D * L * std::log2(L);
    const double pairs = (m + D) * N * N * (options.causal ? 0.5 : 1.0);
    return transforms < pairs ? ToeplitzMethod::fft : ToeplitzMethod::direct;
  }

  View<const T, 2> projection_;
  RelativeKernelOptions options_;
  Toeplitz<T, A> matrix_;
};

namespace detail {

/// Element-wise weights of the softmax engine: c_{j - i} s_ij over their sum.
template <class T, class A = DefaultArch>
struct ToeplitzWeights {
  const Toeplitz<T, A>* matrix;

  template <class U>
  auto weights(const Row& row) const noexcept {
    const T* c = matrix->diagonals(row.head) + matrix->length() - 1 - row.query;
    return [c, row](const auto& s, Index j0) {
      return s * load_keys<std::remove_cvref_t<decltype(s)>>(c, 1, row, j0);
    };
  }
  template <class U>
  U factor(U, U sum, const Row&) const noexcept {
    return sum == U(0) ? U(0) : U(1) / sum;
  }
};
static_assert(ElementwiseNormalizer<ToeplitzWeights<float>>);

/// Rows of features are padded with zeros to whole pairs of registers.
template <class T, class A>
constexpr Index padded_features(Index m) noexcept {
  return round_up(m, 2 * kWidth<T, A>);
}

/// phi <- exp(phi - shift) over one row of m, zeros behind.
template <class A, class T>
void exponentiate_row(T* phi, Index m, T shift) noexcept {
  constexpr Index W = kWidth<T, A>;
  for (Index r = 0; r < padded_features<T, A>(m); r += W) {
    const Index n = std::clamp<Index>(m - r, 0, W);
    const Vec<T, A> e = math::exp(load_partial<A>(phi + r, n) - Vec<T, A>(shift));
    store<A>(phi + r, Vec<T, A>(T(0)));
    store_partial<A>(phi + r, e, n);
  }
}

/// Features of one head, x [N, D] -> phi [N, padded m], but for a factor: of each row where
/// `per_row`, else of all.
template <class A, class T>
void positive_features(const RelativeKernel<T, A>& mixer, View<const T, 2> x, bool per_row,
                       View<T, 2> phi, const Context& ctx) {
  const Index N = x.extent(0), D = x.extent(1), m = mixer.projection().extent(0);
  const Arena::Frame frame(ctx.arena());
  const View<T, 2> scaled(ctx.arena().template take<T>(N * D), {N, D});
  T* exponent = ctx.arena().template take<T>(N);
  const T shrink = static_cast<T>(std::pow(static_cast<double>(D), -0.25));
  for (Index n = 0; n < N; ++n) {
    const T factor =
        mixer.options().normalize ? measure_row<A>(L2Norm<T>{}, x.pointer(n), D).factor : shrink;
    scale_row<A, T>({T(0), factor}, nullptr, nullptr, x.pointer(n), scaled.pointer(n), D);
    exponent[n] = row_sum_of_squares<A>(scaled.pointer(n), D) / 2;
  }
  gemm<A>(scaled, mixer.projection().transpose(0, 1), phi.slice(1, 0, m), ctx);
  T top = -std::numeric_limits<T>::infinity();
  for (Index n = 0; n < N; ++n) top = std::max(top, row_max<A>(phi.pointer(n), m) - exponent[n]);
  for (Index n = 0; n < N; ++n)
    exponentiate_row<A>(phi.pointer(n), m,
                        per_row ? row_max<A>(phi.pointer(n), m) : exponent[n] + top);
}

/// One head by transforms: see RelativeKernel.
template <class T, class A>
class RelativeByFft {
  using V = Vec<T, A>;
  static constexpr Index W = kWidth<T, A>;

 public:
  RelativeByFft(const CircularConvolution<T, A>& convolution, Index head, View<const T, 2> phi_q,
                View<const T, 2> phi_k, View<const T, 2> v, View<T, 2> out, Arena& arena)
      : convolution_(convolution),
        head_(head),
        N_(v.extent(0)),
        vectors_(ceil_div(v.extent(1), W)),
        phi_q_(phi_q),
        phi_k_(phi_k),
        out_(out),
        arena_(arena),
        values_(arena.take<T>(N_ * vectors_ * W)),
        sums_(arena.take<T>(N_ * vectors_ * W)),
        weights_(arena.take<T>(N_)) {
    for (Index n = 0; n < N_; ++n)
      convert_row<T, A>(v.pointer(n), values_ + n * vectors_ * W, v.extent(1), vectors_ * W);
    std::fill_n(sums_, N_ * vectors_ * W, T(0));
    std::fill_n(weights_, N_, T(0));
  }

  void run(Index features) {
    const Index columns = features * vectors_;
    for (Index c = 0; c < columns; c += 2) add_values(c, c + 1 < columns);
    for (Index r = 0; r < features; r += 2 * W) add_weights(r);
    for (Index n = 0; n < N_; ++n) {
      const T factor = weights_[n] == T(0) ? T(0) : T(1) / weights_[n];
      scale_row<A, T>({T(0), factor}, nullptr, nullptr, sums_ + n * vectors_ * W, out_.pointer(n),
                      out_.extent(1));
    }
  }

 private:
  /// Registers c and c + 1 of the columns phi(k)_r v, register fastest.
  void add_values(Index c, bool two) {
    const Index r0 = c / vectors_, e0 = c % vectors_ * W;
    const Index r1 = two ? (c + 1) / vectors_ : r0, e1 = two ? (c + 1) % vectors_ * W : e0;
    const T both = two ? T(1) : T(0);
    const auto load = [&](Index n) {
      const T* phi = phi_k_.pointer(n);
      const T* v = values_ + n * vectors_ * W;
      return std::pair<V, V>(weft::load<A>(v + e0) * V(phi[r0]),
                             weft::load<A>(v + e1) * V(phi[r1] * both));
    };
    const auto store = [&](Index n, const V& y0, const V& y1) {
      const T* phi = phi_q_.pointer(n);
      T* sum = sums_ + n * vectors_ * W;
      weft::store<A>(sum + e0, mul_add(V(phi[r0]), y0, weft::load<A>(sum + e0)));
      weft::store<A>(sum + e1, mul_add(V(phi[r1] * both), y1, weft::load<A>(sum + e1)));
    };
    convolution_.run(head_, N_, load, store, arena_);
  }

  /// Columns phi(k)_r themselves, of two registers of r.
  void add_weights(Index r) {
    const auto load = [&](Index n) {
      const T* phi = phi_k_.pointer(n) + r;
      return std::pair<V, V>(weft::load<A>(phi), weft::load<A>(phi + W));
    };
    const auto store = [&](Index n, const V& y0, const V& y1) {
      const T* phi = phi_q_.pointer(n) + r;
      const V first = weft::load<A>(phi) * y0;
      weights_[n] += sum_lanes(mul_add(weft::load<A>(phi + W), y1, first));
    };
    convolution_.run(head_, N_, load, store, arena_);
  }

  const CircularConvolution<T, A>& convolution_;
  Index head_, N_, vectors_;
  View<const T, 2> phi_q_, phi_k_;
  View<T, 2> out_;
  Arena& arena_;
  T* values_;
  T* sums_;     ///< [N, E padded]
  T* weights_;  ///< [N]
};

template <class T, class A>
void check_relative(const RelativeKernel<T, A>& mixer, View<const T, 4> q, View<const T, 4> k,
                    View<const T, 4> v, View<T, 4> out) {
  const Index heads = mixer.matrix().heads(), length = mixer.matrix().length();
  require_channels(q, "q");
  require_channels(k, "k");
  require_channels(v, "v");
  require_channels(out, "out");
  require(q.extent(1) == heads && q.extent(2) == length, "RelativeKernel: q is ", q,
          ", the biases are for ", heads, " heads and ", length, " tokens");
  require(k.shape() == q.shape(), "RelativeKernel: k is ", k, ", q ", q, "; give them one shape");
  require(v.shape() == out.shape(), "RelativeKernel: v is ", v, ", out ", out);
  for (std::size_t axis : {0u, 1u, 2u}) require_axis(q, "q", v, "v", axis, "leading axes");
  require(mixer.projection().extent(1) == q.extent(3), "RelativeKernel: the projection is ",
          mixer.projection(), ", wanted [m, ", q.extent(3), "]");
}

}  // namespace detail

template <class T, class A, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V, ViewLike<4> O>
void forward(const RelativeKernel<T, A>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  const View<const T, 4> queries = view_of(q), keys = view_of(k), values = view_of(v);
  const View<T, 4> to = view_of(out);
  detail::check_relative(mixer, queries, keys, values, to);
  const Index B = queries.extent(0), H = queries.extent(1), N = queries.extent(2);
  const Index m = mixer.projection().extent(0), padded = detail::padded_features<T, A>(m);
  const Arena::Frame frame(ctx.arena());
  const auto features = [&](const View<const T, 4>& x, bool per_row) {
    const View<T, 4> phi(ctx.arena().template take<T>(B * H * N * padded), {B, H, N, padded});
    for (Index b = 0; b < B; ++b)
      for (Index h = 0; h < H; ++h)
        detail::positive_features<A, T>(mixer, x.select(0, b).select(0, h), per_row,
                                        phi.select(0, b).select(0, h), ctx);
    return phi;
  };
  const View<T, 4> phi_q = features(queries, true), phi_k = features(keys, false);
  if (!mixer.matrix().uses_fft()) {
    const Softmax direct{Window{-1, mixer.options().causal ? 0 : -1}, NoScore{},
                         detail::ToeplitzWeights<T, A>{&mixer.matrix()}, 1.0};
    return forward<A>(direct, phi_q, phi_k, values, to, ctx);
  }
  ctx.parallel(B * H, [&](Index task, Arena& arena) {
    const auto head = [&](const auto& x) { return x.select(0, task / H).select(0, task % H); };
    detail::RelativeByFft<T, A>(mixer.matrix().convolution(), task % H, head(phi_q), head(phi_k),
                                head(values), head(to), arena)
        .run(m);
  });
}

}  // namespace weft
