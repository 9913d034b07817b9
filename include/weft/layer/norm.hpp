#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/reduce.hpp>
#include <weft/core/tensor.hpp>
#include <weft/layer/rows.hpp>

#include <cmath>
#include <concepts>

namespace weft {

/// Normalisations over the last axis of an array of any rank. Each maps a row x of D channels to
///
///   gain * ((x - centre) / spread * weight + bias)
///
///
///   LayerNorm      centre mean(x),  spread sqrt(mean((x - mean)^2) + eps)    arXiv:1607.06450
///   RmsNorm        centre 0,        spread sqrt(mean(x^2) + eps)             arXiv:1910.07467
///   SimpleRmsNorm  centre 0,        spread sqrt(mean(x^2)) + eps, no weight  arXiv:2210.10340
///   L2Norm         centre 0,        spread max(sqrt(sum(x^2) + inside), floor)
///
/// The variance is taken about the mean in a second pass, so that it does not cancel; the row stays
/// in the L1 cache, and memory is read and written once. A row without variance gives b. Statistics
/// are fp32, and fp64 for fp64. Used on [B, H, N, D] queries and keys these are QK normalisation
/// (arXiv:2302.05442), which comes before RoPE; with L2Norm the logits take a learned scale instead
/// of 1 / sqrt(D).
///
/// weight and bias [D] may be left out: 1 and 0. A gain of 1 / sqrt(l) in layer l = 1, 2, ... makes
/// LayerNorm that of LayerNorm Scaling (The Curse of Depth, arXiv:2502.05795).
template <class T = float>
struct LayerNorm {
  using value_type = T;
  View<const T, 1> weight = {};
  View<const T, 1> bias = {};
  T eps = static_cast<T>(1e-5);  ///< >= 0
  T gain = 1;
};
template <class T, class... Rest>
LayerNorm(View<T, 1>, Rest...) -> LayerNorm<std::remove_const_t<T>>;

template <class T = float>
struct RmsNorm {
  using value_type = T;
  View<const T, 1> weight = {};
  T eps = static_cast<T>(1e-5);  ///< >= 0
  T gain = 1;
};
template <class T, class... Rest>
RmsNorm(View<T, 1>, Rest...) -> RmsNorm<std::remove_const_t<T>>;

template <class T = float>
struct SimpleRmsNorm {
  using value_type = T;
  T eps = static_cast<T>(1e-8);  ///< >= 0, outside the root
  T gain = 1;
};

template <class T = float>
struct L2Norm {
  using value_type = T;
  T floor = static_cast<T>(1e-12);  ///< smallest spread, > 0: a row of zeros gives zeros
  T inside = 0;                     ///< added to the sum of squares, >= 0
  T gain = 1;
};

namespace detail {

/// A row is normalised to (x - centre) * factor.
template <class T>
struct RowScale {
  T centre, factor;
};

template <class A, class T, class S>
RowScale<T> measure_row(const LayerNorm<T>& norm, const S* x, Index n) noexcept {
  const auto row = row_mean_variance<A>(x, n);
  return {row.mean, norm.gain / std::sqrt(row.variance + norm.eps)};
}

template <class A, class T, class S>
RowScale<T> measure_row(const RmsNorm<T>& norm, const S* x, Index n) noexcept {
  const T mean_square = row_sum_of_squares<A>(x, n) / static_cast<T>(n);
  return {0, norm.gain / std::sqrt(mean_square + norm.eps)};
}

template <class A, class T, class S>
RowScale<T> measure_row(const SimpleRmsNorm<T>& norm, const S* x, Index n) noexcept {
  const T mean_square = row_sum_of_squares<A>(x, n) / static_cast<T>(n);
  return {0, norm.gain / (std::sqrt(mean_square) + norm.eps)};
}

template <class A, class T, class S>
RowScale<T> measure_row(const L2Norm<T>& norm, const S* x, Index n) noexcept {
  const T length = std::sqrt(row_sum_of_squares<A>(x, n) + norm.inside);
  return {0, norm.gain / std::max(length, norm.floor)};
}

/// y = (x - centre) factor w + b; w and b may be null.
template <class A, class T, class S>
void scale_row(RowScale<T> scale, const T* w, const T* b, const S* x, S* y, Index n) noexcept {
  using V = Vec<T, A>;
  const V centre(scale.centre), factor(scale.factor);
  for (Index i = 0; i < n; i += kWidth<T, A>) {
    const Index lanes = std::min(kWidth<T, A>, n - i);
    V v = (load_as_partial<T, A>(x + i, lanes) - centre) * factor;
    if (w != nullptr) v *= load_partial<A>(w + i, lanes);
    if (b != nullptr) v += load_partial<A>(b + i, lanes);
    store_as_partial<A>(y + i, v, lanes);
  }
}

/// Weight and bias as the row kernel takes them: null where they are 1 and 0.
template <class T>
struct RowAffine {
  const T* weight = nullptr;
  const T* bias = nullptr;
};

template <class N>
auto weight_of(const N& norm) noexcept {
  View<const typename N::value_type, 1> weight;
  if constexpr (requires { norm.weight; }) weight = norm.weight;
  return weight;
}
template <class N>
auto bias_of(const N& norm) noexcept {
  View<const typename N::value_type, 1> bias;
  if constexpr (requires { norm.bias; }) bias = norm.bias;
  return bias;
}

template <class T>
void check_norm_parameter(const char* name, View<const T, 1> parameter, Index channels) {
  if (parameter.data() == nullptr) return;
  require(parameter.extent(0) == channels, "normalize: ", name, " has ", parameter.extent(0),
          " channels, x has ", channels);
  require(channels <= 1 || parameter.stride(0) == 1, "normalize: ", name, " must be contiguous");
}

template <class N>
void check_norm(const N& norm, Index channels) {
  check_norm_parameter("weight", weight_of(norm), channels);
  check_norm_parameter("bias", bias_of(norm), channels);
  require(std::isfinite(norm.gain), "normalize: gain is ", norm.gain);
  if constexpr (requires { norm.eps; }) {
    require(norm.eps >= 0 && std::isfinite(norm.eps), "normalize: eps is ", norm.eps,
            ", wanted 0 or more");
  } else {
    require(norm.floor > 0 && norm.inside >= 0 && std::isfinite(norm.floor + norm.inside),
            "normalize: floor is ", norm.floor, " and inside ", norm.inside,
            ", wanted a positive floor and 0 or more inside");
  }
}

/// The affine part of a norm, times (1 + scale), plus shift, for every batch, in scratch memory.
template <class N, class T>
RowAffine<T>* modulated_affine(const N& norm, View<const T, 2> scale, View<const T, 2> shift,
                               Arena& arena) {
  const Index batch = scale.extent(0), channels = scale.extent(1);
  const View<const T, 1> weight = weight_of(norm), bias = bias_of(norm);
  auto* affine = arena.take<RowAffine<T>>(batch);
  for (Index b = 0; b < batch; ++b) {
    T* w = arena.take<T>(channels);
    T* c = arena.take<T>(channels);
    for (Index d = 0; d < channels; ++d) {
      const T stretch = 1 + scale(b, d);
      w[d] = weight.data() == nullptr ? stretch : weight(d) * stretch;
      c[d] = bias.data() == nullptr ? shift(b, d) : norm.gain * bias(d) * stretch + shift(b, d);
    }
    affine[b] = {w, c};
  }
  return affine;
}

}  // namespace detail

/// LayerNorm, RmsNorm or L2Norm.
template <class N>
concept RowNorm = requires(const N& norm, const typename N::value_type* row, Index channels) {
  detail::measure_row<DefaultArch>(norm, row, channels);
};

/// y = norm(x) over the last axis. x and y have the same shape, of any rank, with that axis
/// contiguous; y may be x itself. Elements float, bf16 or fp16 with parameters in float, double
/// with double. Throws when shapes disagree or a parameter is out of range. Time O(size).
template <class A = DefaultArch, RowNorm N, class X, class Y>
void normalize(const N& norm, const X& x, Y&& y, const Context& ctx = Context{}) {
  using T = typename N::value_type;
  const auto to = view_of(y);
  using S = typename decltype(to)::value_type;
  static_assert(std::same_as<T, Accumulator<S>>,
                "normalize: the parameters of the norm are float, or double where x is double");
  const View<const S, decltype(to)::rank> from = view_of(x);
  const Index channels = from.extent(to.rank - 1);
  detail::require_same_rows("normalize", "x", from, "y", to);
  detail::check_norm(norm, channels);

  const Arena::Frame frame(ctx.arena());
  detail::RowAffine<T> affine{detail::weight_of(norm).data(), detail::bias_of(norm).data()};
  if (affine.bias != nullptr && norm.gain != 1) {
    T* scaled = ctx.arena().template take<T>(channels);
    for (Index d = 0; d < channels; ++d) scaled[d] = norm.gain * affine.bias[d];
    affine.bias = scaled;
  }
  detail::for_each_row(
      ctx,
      [&](Index, const S* row, S* out) {
        const auto scale = detail::measure_row<A>(norm, row, channels);
        detail::scale_row<A>(scale, affine.weight, affine.bias, row, out, channels);
      },
      from, to);
}

/// Adaptive normalisation, y = norm(x) (1 + scale) + shift (AdaLN of DiT, arXiv:2212.09748):
/// x and y [B, N, D], scale and shift [B, D], one pair per batch. y may be x itself.
template <class A = DefaultArch, RowNorm N, ViewLike<3> X, ViewLike<3> Y>
void modulate(const N& norm, const X& x, View<const typename N::value_type, 2> scale,
              View<const typename N::value_type, 2> shift, Y&& y, const Context& ctx = Context{}) {
  const auto to = view_of(y);
  using S = typename decltype(to)::value_type;
  const View<const S, 3> from = view_of(x);
  const Index length = from.extent(1), channels = from.extent(2);
  detail::require_same_rows("modulate", "x", from, "y", to);
  detail::check_norm(norm, channels);
  require(scale.shape() == shift.shape() && scale.extent(0) == from.extent(0) &&
              scale.extent(1) == channels,
          "modulate: scale is ", scale, ", shift ", shift, ", x ", from,
          "; scale and shift are [B, D]");

  const Arena::Frame frame(ctx.arena());
  const auto* affine = detail::modulated_affine(norm, scale, shift, ctx.arena());
  detail::for_each_row(
      ctx,
      [&](Index index, const S* row, S* out) {
        const auto& [weight, bias] = affine[index / length];
        const auto rescale = detail::measure_row<A>(norm, row, channels);
        detail::scale_row<A>(rescale, weight, bias, row, out, channels);
      },
      from, to);
}

}  // namespace weft
