#pragma once

#include <weft/core/executor.hpp>
#include <weft/core/tensor.hpp>
#include <weft/quant/affine.hpp>
#include <weft/quant/doubles.hpp>
#include <weft/quant/gram.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

/// AWQ: scales up the input channels that matter, and clips groups of weights, before rounding
/// (AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration, arXiv
/// 2306.00978).
///
///   pq(w)   per group of consecutive inputs: lo = min w, hi = max w (not widened to hold 0),
///           scale = max(hi - lo, 1e-5) / (2^b - 1), zero = clamp(-rint(lo / scale), 0, 2^b - 1),
///           code = clamp(rint(w / scale) + zero, 0, 2^b - 1); a group above 0 saturates
///   scales  m_j = mean |X[:, j]|; for r = i / grid: s = max(m^r, 1e-4), s /= sqrt(max s min s);
///           the r of least mean((X W^T - X (pq(W s) / s)^T)^2), the first of equals
///   clips   per row and group, c = max |w| (1 - i / grid), i < grid / 2: the c of least
///           mean((x . pq(clamp(w, -c, c)) - x . w)^2) over tokens x of the group, the first of
///           equals
///
/// Scales are folded with divide_channels and multiply_inputs (channel_scale.hpp), clips with
/// `awq_clip`. Projections of queries and keys are usually not clipped. Time T K^2 + grid 2 R K^2
/// for scales and grid / 2 times 2 R K group for clips, by products of X^T X (gram.hpp).
namespace weft::quant {

struct AwqOptions {
  int bits = 4;     ///< 1 to 8
  Index group = 0;  ///< inputs that share a grid, a divisor of K; 0: all of them
  int grid = 20;    ///< steps of the searches, >= 1
};

struct AwqMatrix {
  Tensor<std::uint8_t, 2> codes;  ///< [R, K]
  Tensor<double, 2> scale;        ///< [R, groups]
  Tensor<std::int32_t, 2> zero;   ///< [R, groups]
  Tensor<double, 2> weight;       ///< [R, K]: scale (code - zero)
  int bits = 4;                   ///< of a code
};

struct AwqScales {
  Tensor<double, 1> scale;  ///< [K]
  Tensor<double, 1> loss;   ///< of each ratio, [grid]
  Index ratio = 0;          ///< the best: i of r = i / grid
};

namespace detail {

inline Index awq_group(const char* what, Index inputs, const AwqOptions& options) {
  require(options.bits >= 1 && options.bits <= 8, what, ": ", options.bits, " bits; wanted 1 to 8");
  require(options.grid >= 1, what, ": a grid of ", options.grid, " steps; wanted at least 1");
  const Index group = options.group == 0 ? inputs : options.group;
  require(inputs >= 1 && group >= 1 && inputs % group == 0, what, ": groups of ", group, " of ",
          inputs, " inputs; wanted a divisor");
  return group;
}

/// The grid of a group of weights, clamped to [-clip, clip].
inline AffineGrid<double> awq_grid(View<const double, 1> w, double clip, int bits) noexcept {
  double lo = std::numeric_limits<double>::infinity(), hi = -lo;
  for (Index i = 0; i < w.extent(0); ++i) {
    const double v = std::clamp(w(i), -clip, clip);
    lo = std::min(lo, v);
    hi = std::max(hi, v);
  }
  const CodeRange codes = unsigned_codes(bits);
  const double scale = std::max(hi - lo, 1e-5) / codes.high;
  const double zero = std::clamp(-round_half_even(lo / scale), 0.0, double(codes.high));
  return {scale, static_cast<int>(zero), codes};
}

inline double largest_magnitude(View<const double, 1> w) noexcept {
  double most = 0;
  for (Index i = 0; i < w.extent(0); ++i) most = std::max(most, std::abs(w(i)));
  return most;
}

inline constexpr double kNoClip = std::numeric_limits<double>::infinity();

}  // namespace detail

/// pq of a weight [R, K]. Throws where the group does not divide K, and on numbers that are not
/// finite.
inline AwqMatrix awq_quantize(View<const double, 2> w, const AwqOptions& options) {
  const Index R = w.extent(0), K = w.extent(1);
  const Index group = detail::awq_group("awq_quantize", K, options), groups = K / group;
  require_finite("w", w);
  AwqMatrix out{Tensor<std::uint8_t, 2>({R, K}), Tensor<double, 2>({R, groups}),
                Tensor<std::int32_t, 2>({R, groups}), Tensor<double, 2>({R, K}), options.bits};
  for (Index r = 0; r < R; ++r)
    for (Index g = 0; g < groups; ++g) {
      const auto part = w.select(0, r).slice(0, g * group, group);
      const auto grid = detail::awq_grid(part, detail::kNoClip, options.bits);
      out.scale(r, g) = grid.scale;
      out.zero(r, g) = grid.zero;
      for (Index i = 0; i < group; ++i) {
        const int code = grid.encode(part(i));
        out.codes(r, g * group + i) = static_cast<std::uint8_t>(code);
        out.weight(r, g * group + i) = grid.decode(code);
      }
    }
  return out;
}

/// The same numbers as a matrix that operators take, scales rounded to float.
inline QuantizedMatrix<std::uint8_t> quantized_matrix(const AwqMatrix& x) {
  return {.codes = x.codes.clone(),
          .scale = floats(x.scale),
          .zero = x.zero.clone(),
          .block = Block::group(x.codes.extent(1) / x.scale.extent(1)),
          .range = unsigned_codes(x.bits)};
}

/// mean |x| of each channel of tokens [T, K].
inline Tensor<double, 1> mean_magnitude(View<const float, 2> x) {
  require_finite("x", x);
  require(x.extent(0) >= 1, "mean_magnitude: there are no tokens");
  Tensor<double, 1> mean({x.extent(1)});
  for (Index t = 0; t < x.extent(0); ++t)
    for (Index k = 0; k < x.extent(1); ++k) mean(k) += std::abs(static_cast<double>(x(t, k)));
  for (double& m : mean.span()) m /= static_cast<double>(x.extent(0));
  return mean;
}

/// The scales of one ratio in [0, 1]: all 1 for 0. Throws where a mean is negative or not finite.
inline Tensor<double, 1> awq_scales_of_ratio(View<const double, 1> mean, double ratio) {
  Tensor<double, 1> s({mean.extent(0)});
  double least = std::numeric_limits<double>::infinity(), most = 0;
  for (Index k = 0; k < mean.extent(0); ++k) {
    require(std::isfinite(mean(k)) && mean(k) >= 0, "awq: the mean magnitude of channel ", k,
            " is ", mean(k));
    s(k) = std::max(std::pow(mean(k), ratio), 1e-4);
    least = std::min(least, s(k));
    most = std::max(most, s(k));
  }
  const double middle = std::sqrt(most * least);
  for (double& v : s.span()) v /= middle;
  return s;
}

/// The best of the scales by any measure: loss(View<const double, 1> scales), such as the error of
/// a whole attention block whose weights are quantized with them.
template <class Loss>
AwqScales search_awq_scales(View<const double, 1> mean, int grid, Loss loss) {
  AwqScales best{.scale = {}, .loss = Tensor<double, 1>({grid}), .ratio = 0};
  double least = std::numeric_limits<double>::infinity();
  for (Index i = 0; i < grid; ++i) {
    Tensor<double, 1> s =
        awq_scales_of_ratio(mean, static_cast<double>(i) / static_cast<double>(grid));
    best.loss(i) = loss(View<const double, 1>(s));
    if (!(best.loss(i) < least)) continue;
    least = best.loss(i);
    best.ratio = i;
    best.scale = std::move(s);
  }
  require(std::isfinite(least), "awq: no ratio has a finite loss");
  return best;
}

/// The best scales for linear layers with weights [R_i, K] that read the same tokens x [T, K]: the
/// mean is over tokens and all outputs of all layers. Throws where the shapes disagree.
template <class A = DefaultArch>
AwqScales awq_scales(View<const float, 2> x, std::span<const View<const float, 2>> weights,
                     const AwqOptions& options = {}, const Context& ctx = Context{}) {
  const Index K = x.extent(1);
  detail::awq_group("awq_scales", K, options);
  require(!weights.empty(), "awq_scales: there are no weights");
  const auto mean = mean_magnitude(x);
  Tensor<double, 2> gram({K, K});
  add_gram<A>(x, gram, ctx);
  std::vector<Tensor<double, 2>> layers;
  Index outputs = 0;
  for (const auto& w : weights) {
    require(w.extent(1) == K, "awq_scales: a weight is ", w, ", x has ", K, " channels");
    layers.push_back(finite_doubles("weight", w));
    outputs += w.extent(0);
  }
  return search_awq_scales(mean, options.grid, [&](View<const double, 1> s) {
    double sum = 0;
    for (const Tensor<double, 2>& w : layers) {
      Tensor<double, 2> change = w.clone();
      for (Index r = 0; r < w.extent(0); ++r)
        for (Index k = 0; k < K; ++k) change(r, k) *= s(k);
      const Tensor<double, 2> rounded = awq_quantize(change, options).weight;
      for (Index r = 0; r < w.extent(0); ++r)
        for (Index k = 0; k < K; ++k) change(r, k) = w(r, k) - rounded(r, k) / s(k);
      const Tensor<double, 1> errors = squared_outputs<A>(change, gram, ctx);
      for (const double e : errors.span()) sum += e;
    }
    return sum / static_cast<double>(x.extent(0) * outputs);
  });
}

/// The largest magnitude c [R, groups] that each group of a weight [R, K] should keep. Of the
/// tokens x [T, K] every (T / samples)-th is looked at. Throws where shapes disagree, and without
/// tokens.
template <class A = DefaultArch>
Tensor<double, 2> search_awq_clips(View<const float, 2> weight, View<const float, 2> x,
                                   const AwqOptions& options = {}, Index samples = 512,
                                   const Context& ctx = Context{}) {
  const Index R = weight.extent(0), K = weight.extent(1), T = x.extent(0);
  const Index group = detail::awq_group("search_awq_clips", K, options), groups = K / group;
  require(x.extent(1) == K && T >= 1 && samples >= 1, "search_awq_clips: x is ", x,
          ", the weight is ", weight, ", samples are ", samples);
  require_finite("x", x);
  const Tensor<double, 2> w = finite_doubles("weight", weight);
  const Index step = std::max<Index>(1, T / samples);
  const View<const float, 2> tokens(x.data(), {ceil_div(T, step), K},
                                    {x.stride(0) * step, x.stride(1)});
  Tensor<double, 2> clips({R, groups}), change({R, group}), gram({group, group});
  std::vector<double> least(static_cast<std::size_t>(R));
  for (Index g = 0; g < groups; ++g) {
    std::fill_n(gram.data(), gram.size(), 0.0);
    add_gram<A>(tokens.slice(1, g * group, group), gram, ctx);
    std::fill(least.begin(), least.end(), std::numeric_limits<double>::infinity());
    for (int i = 0; i < std::max(options.grid / 2, 1); ++i) {
      const double share = 1 - static_cast<double>(i) / options.grid;
      const auto clip_of = [&](View<const double, 1> part) {
        return detail::largest_magnitude(part) * share;
      };
      for (Index r = 0; r < R; ++r) {
        const View<const double, 1> part = w.view().select(0, r).slice(0, g * group, group);
        const double c = clip_of(part);
        const auto grid = detail::awq_grid(part, c, options.bits);
        for (Index k = 0; k < group; ++k)
          change(r, k) = grid.round_trip(std::clamp(part(k), -c, c)) - part(k);
      }
      const auto errors = squared_outputs<A>(change, gram, ctx);
      for (Index r = 0; r < R; ++r) {
        if (!(errors(r) < least[static_cast<std::size_t>(r)])) continue;
        least[static_cast<std::size_t>(r)] = errors(r);
        clips(r, g) = clip_of(w.view().select(0, r).slice(0, g * group, group));
      }
    }
  }
  return clips;
}

/// Clamps each group of a weight [R, K] to its [-c, c], in place. Throws where groups do not divide
/// K.
template <class W>
  requires ViewLike<W&, 2>
void awq_clip(W&& weight, View<const double, 2> clips) {
  const auto w = view_of(weight);
  using T = typename decltype(w)::value_type;
  const Index groups = clips.extent(1), K = w.extent(1);
  require(clips.extent(0) == w.extent(0) && groups >= 1 && K % groups == 0, "awq_clip: clips are ",
          clips, ", the weight is ", w);
  for (Index r = 0; r < w.extent(0); ++r)
    for (Index k = 0; k < K; ++k) {
      const T c = static_cast<T>(clips(r, k / (K / groups)));
      w(r, k) = std::clamp(w(r, k), -c, c);
    }
}

}  // namespace weft::quant
