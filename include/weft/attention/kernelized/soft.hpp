#pragma once

#include <weft/attention/kernelized/few_keys.hpp>
#include <weft/attention/kernelized/head_conv.hpp>
#include <weft/attention/kernelized/pseudo_inverse.hpp>
#include <weft/core/activation.hpp>
#include <weft/layer/norm.hpp>

namespace weft {

/// How SOFT inverts the kernel A of its landmarks; r is the largest row sum of A.
enum class SoftInverse {
  ridge,            ///< of A + 0.01, X0 = 1.8 (A + 0.01) / r^2
  symmetric,        ///< SOFT++: D X D, D = 1 / sqrt(row sums of A), X0 = 1.8 A / r^2
  symmetric_batch,  ///< SOFT++ as published: X0 = alpha A with one alpha for the whole batch
};

/// Attention with a Gaussian kernel in place of softmax, by landmarks (SOFT: Softmax-free
/// Transformer with Linear Complexity, arXiv:2110.11945; SOFT++: Softmax-free Linear Transformers,
/// arXiv:2207.03341).
///
///   x = q D^(-1/4),  t = gelu(LN(conv(x)))        n landmarks: r x r tokens each, stride r
///   P_ij = exp(-|x_i - t_j|^2 / 2),  A_ij = exp(-|t_i - t_j|^2 / 2)
///   out = P X (P^T v) (+ conv(v))                 X ~ A^-1 by Newton-Raphson: X <- 2 X - X A X
///
/// Queries are the keys: q [B, H, N, D], v, out [B, H, N, E], tokens of a map of `rows` x `columns`
/// in raster order. `landmark` [D, D, r, r] (out, in, row, column) is shared by the heads and has
/// no bias; r must divide the sides of the map. `conv` [H, k, k] is a kernel per head on v, k odd;
/// without data there is none. The rows of the map are not normalised.
///
/// All three converge to the same inverse, but 20 steps do not always get there. The published
/// SOFT++ has alpha = 2 / r^2, r the largest of all heads of the batch, halved while the largest
/// column sum of |1 - alpha A A| exceeds 1.01, ten times at most: sequences depend on one another,
/// and a kernel whose row sums are equal ends at 0. Hence `symmetric`, where each head has its own.
/// Landmarks that are almost equal make A nearly singular: then X has entries of 1 / its smallest
/// eigenvalue and none of them converges.
///
/// Elements fp32 or fp64, one type for all. Throws where shapes do not fit. Time
/// O(B H (N n (D + E) + N D^2 + steps n^3)), scratch memory O(B H n (n + D + E)).
template <class T = float>
struct Soft {
  Index rows, columns;
  View<const T, 4> landmark;
  LayerNorm<T> norm = {};
  View<const T, 3> conv = {};
  SoftInverse inverse = SoftInverse::ridge;
  int steps = 20;
};

namespace detail {

/// Weights exp(-|a - b|^2 / 2) for the softmax engine, from logits a . b and half the squares of
/// the lengths, [B, H, queries] and [B, H, keys].
template <class T>
struct GaussianWeights {
  View<const T, 3> queries, keys;

  template <class U>
  auto weights(const Row& row) const noexcept {
    const T* half = keys.pointer(row.batch, row.head);
    const U own = static_cast<U>(queries(row.batch, row.head, row.query));
    return [half, own, row](const auto& s, Index j0) {
      using V = std::remove_cvref_t<decltype(s)>;
      // Rounding must not make a distance negative.
      const V distance = V(own) + load_keys<V>(half, 1, row, j0) - s;
      return math::exp(-xsimd::max(distance, V(U(0))));
    };
  }
  template <class U>
  U factor(U, U, const Row&) const noexcept {
    return U(1);
  }
};
static_assert(ElementwiseNormalizer<GaussianWeights<float>>);

/// Rows and half of their squared lengths.
template <class T>
struct GaussianPoints {
  View<const T, 4> x;       // [B, H, n, D]
  View<const T, 3> halves;  // [B, H, n]

  template <class A>
  static GaussianPoints of(const View<const T, 4>& x, Arena& arena) {
    const View<T, 3> halves = scratch<T, 3>(arena, {x.extent(0), x.extent(1), x.extent(2)});
    for_each_head(x.extent(0), x.extent(1), [&](Index b, Index h) {
      for (Index i = 0; i < x.extent(2); ++i)
        halves(b, h, i) = row_sum_of_squares<A>(x.pointer(b, h, i), x.extent(3)) / 2;
    });
    return {x, halves};
  }
};

/// out_i = sum_j exp(-|a_i - b_j|^2 / 2) v_j.
template <class A, class T>
void gaussian_sums(const GaussianPoints<T>& a, const GaussianPoints<T>& b,
                   const View<const T, 4>& v, const View<T, 4>& out, const Context& ctx) {
  const Softmax kernel{NoMask{}, NoScore{}, GaussianWeights<T>{a.halves, b.halves}, 1.0};
  forward<A>(kernel, a.x, b.x, v, out, ctx);
}

/// The tokens of a landmark in the order of the weights: channel, row, column.
template <class T>
void gather_patch(const View<const T, 2>& x, Index columns, Index r, Index landmark, T* to) {
  const Index across = columns / r;
  const Index corner = landmark / across * r * columns + landmark % across * r;
  for (Index d = 0; d < x.extent(1); ++d)
    for (Index i = 0; i < r; ++i)
      for (Index j = 0; j < r; ++j) *to++ = x(corner + i * columns + j, d);
}

/// Landmarks of every head [B, H, n, D] from q scaled by D^(-1/4).
template <class A, class T>
View<T, 4> soft_landmarks(const Soft<T>& mixer, const View<const T, 4>& x, const Context& ctx) {
  const Index r = mixer.landmark.extent(2), D = x.extent(3), size = D * r * r;
  const Index n = x.extent(2) / (r * r);
  const View<T, 4> landmarks = scratch<T, 4>(ctx.arena(), {x.extent(0), x.extent(1), n, D});
  const Arena::Frame frame(ctx.arena());
  const View<T, 2> patches = scratch<T, 2>(ctx.arena(), {n, size});
  const View<const T, 2> weight = mixer.landmark.reshape(std::array<Index, 2>{D, size});
  for_each_head(x.extent(0), x.extent(1), [&](Index b, Index h) {
    for (Index i = 0; i < n; ++i)
      gather_patch<T>(head_of(x, b, h), mixer.columns, r, i, patches.pointer(i));
    gemm<A>(patches, weight.transpose(0, 1), head_of(landmarks, b, h), ctx);
  });
  normalize<A>(mixer.norm, landmarks, landmarks, ctx);
  constexpr Index W = kWidth<T, A>;
  for (Index i = 0; i < landmarks.size(); i += W) {
    const Index lanes = std::min(W, landmarks.size() - i);
    T* at = landmarks.data() + i;
    store_partial<A>(at, GeluErf{}(load_partial<A>(at, lanes)), lanes);
  }
  return landmarks;
}

/// Largest column sum of |1 - alpha A A|.
template <class A, class T>
double departure(const View<const T, 2>& a, double alpha, const Context& ctx) {
  const Arena::Frame frame(ctx.arena());
  const View<T, 2> square = scratch<T, 2>(ctx.arena(), a.shape());
  gemm<A>(a, a, square, ctx);
  double largest = 0;
  for (Index j = 0; j < a.extent(1); ++j) {
    double column = 0;
    for (Index i = 0; i < a.extent(0); ++i)
      column += std::abs((i == j ? 1 : 0) - alpha * static_cast<double>(square(i, j)));
    largest = std::max(largest, column);
  }
  return largest;
}

/// alpha of the published SOFT++ for kernels [B, H, n, n].
template <class A, class T>
double batch_alpha(const View<const T, 4>& kernels, const Context& ctx) {
  const Index B = kernels.extent(0), H = kernels.extent(1);
  LargestSums most;
  for_each_head(B, H,
                [&](Index b, Index h) { most.take(LargestSums::of(head_of(kernels, b, h))); });
  double alpha = 2 / (most.row * most.row);
  for (int halvings = 0; halvings < 10; ++halvings, alpha /= 2) {
    double largest = 0;
    for_each_head(B, H, [&](Index b, Index h) {
      largest = std::max(largest, departure<A, T>(head_of(kernels, b, h), alpha, ctx));
    });
    if (largest <= 1.01) break;
  }
  return alpha;
}

/// The estimate of the inverse of one head's kernel, with the normalisation; `a` is changed.
/// alpha = 0: that of the head.
template <class A, class T>
View<T, 2> soft_inverse(const Soft<T>& mixer, const View<T, 2>& a, double alpha,
                        const Context& ctx) {
  const Index n = a.extent(0);
  const double most = LargestSums::of(View<const T, 2>(a)).row;
  const bool ridge = mixer.inverse == SoftInverse::ridge;
  T* shrink = ctx.arena().template take<T>(n);
  for (Index i = 0; i < n; ++i) {
    shrink[i] = T(1) / std::sqrt(row_sum<A>(a.pointer(i), n));
    if (ridge) a(i, i) += static_cast<T>(0.01);
  }
  if (alpha == 0) alpha = 1.8 / (most * most);
  View<T, 2> x = scratch<T, 2>(ctx.arena(), {n, n});
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(alpha) * a.data()[i];
  x = newton_inverse<A, T>(a, x, mixer.steps, ctx);
  for (Index i = 0; !ridge && i < n; ++i)
    for (Index j = 0; j < n; ++j) x(i, j) *= shrink[i] * shrink[j];
  return x;
}

template <class T>
void check_soft(const Soft<T>& mixer, const View<const T, 4>& q, const View<const T, 4>& v) {
  require_channels(q, "q");
  require_channels(v, "v");
  for (std::size_t axis : {0u, 1u, 2u}) require_axis(q, "q", v, "v", axis, "leading axes");
  const Index r = mixer.landmark.extent(2), D = q.extent(3);
  require(mixer.landmark.shape() == std::array<Index, 4>{D, D, r, r} && r >= 1,
          "Soft: landmark is ", mixer.landmark, ", wanted [", D, ", ", D, ", r, r]");
  require(mixer.rows >= 0 && mixer.columns >= 0 && mixer.rows * mixer.columns == q.extent(2) &&
              mixer.rows % r == 0 && mixer.columns % r == 0,
          "Soft: a map of ", mixer.rows, " x ", mixer.columns, " in parts of ", r, " x ", r,
          ", q has ", q.extent(2), " tokens");
  require(mixer.steps >= 0, "Soft: ", mixer.steps, " steps");
}

}  // namespace detail

template <class A = DefaultArch, class T, ViewLike<4> Q, ViewLike<4> V, ViewLike<4> O>
void forward(const Soft<T>& mixer, const Q& q, const V& v, O&& out,
             const Context& ctx = Context()) {
  using X = View<const T, 4>;
  const X queries = view_of(q), values = view_of(v);
  const View<T, 4> to = view_of(out);
  detail::check_soft(mixer, queries, values);
  require(to.shape() == values.shape(), "Soft: out is ", to, ", v ", values);
  Arena& arena = ctx.arena();
  const Arena::Frame frame(arena);
  const Index B = queries.extent(0), H = queries.extent(1), E = values.extent(3);
  if (values.empty()) return;
  const View<T, 4> scaled = detail::scratch<T, 4>(arena, queries.shape());
  const T factor = static_cast<T>(std::pow(static_cast<double>(queries.extent(3)), -0.25));
  detail::for_each_row(
      ctx,
      [&](Index, const T* row, T* to_row) {
        detail::scale_row<A, T>({T(0), factor}, nullptr, nullptr, row, to_row, queries.extent(3));
      },
      queries, scaled);
  using Points = detail::GaussianPoints<T>;
  const Points points = Points::template of<A>(scaled, arena);
  const Points marks =
      Points::template of<A>(detail::soft_landmarks<A, T>(mixer, scaled, ctx), arena);
  const Index n = marks.x.extent(2);
  const auto kernel = detail::scratch<T, 4>(arena, {B, H, n, n});
  const auto summary = detail::scratch<T, 4>(arena, {B, H, n, E});
  const auto weighted = detail::scratch<T, 4>(arena, {B, H, n, E});
  detail::gaussian_sums<A, T>(marks, marks, detail::identity_values<T>(B, H, n, arena), kernel,
                              ctx);
  detail::gaussian_sums<A, T>(marks, points, values, summary, ctx);
  const bool shared = mixer.inverse == SoftInverse::symmetric_batch;
  const double alpha = shared ? detail::batch_alpha<A, T>(kernel, ctx) : 0.0;
  detail::for_each_head(B, H, [&](Index b, Index h) {
    const Arena::Frame inner(arena);
    gemm<A>(detail::soft_inverse<A, T>(mixer, detail::head_of(kernel, b, h), alpha, ctx),
            detail::head_of(summary, b, h), detail::head_of(weighted, b, h), ctx);
  });
  detail::gaussian_sums<A, T>(points, marks, weighted, to, ctx);
  if (mixer.conv.data() != nullptr)
    add_head_conv<A>(HeadConv<T>{mixer.conv, mixer.rows, mixer.columns}, values, to, ctx);
}

}  // namespace weft
