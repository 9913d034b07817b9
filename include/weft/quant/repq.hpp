#pragma once

#include <weft/quant/percentile_grid.hpp>

/// Scale reparameterization: RepQ-ViT (arXiv 2212.08254) and RepQuant (arXiv 2402.05628).
///
/// The output of a LayerNorm differs so much between channels that it needs a grid s_c, z_c per
/// channel, which no integer product can have. The difference moves into the norm before and the
/// linear layer behind, whose full-precision result stays the same:
///
///   s~ = mean s_c,  z~ = mean z_c,  r1_c = s_c / s~,  r2_c = (z~ - z_c) s~
///   gamma_c <- gamma_c / r1_c,      beta_c <- beta_c / r1_c - r2_c          x' = x / r1 - r2
///   W[:, c] <- r1_c W[:, c],        bias <- bias + sum_c W[:, c] r2_c       (W is the new one)
///
/// Then x' has one grid s~, z~ for all channels, and W is calibrated anew. The reference keeps z~
/// real, which moves the grid of rounding a little; with Zero::whole it is rounded, and the code of
/// x' is exactly the code that x had in the grid of its channel.
///
/// Per-channel grids come from percentile_grid.hpp, or from dual clipping: both ends of each
/// channel shrink by factors of their own. RepQuant learns them and gives no code; here
///
///   lo' = a lo, hi' = b hi, a and b in (1, 0.95, ..., 0.5), of least squared error, the first in
///   row-major order of (a, b) on ties, lo and hi being the extremes of the channel.
///
/// (Its other addition, reconstructing the weights for activations that are quantized, is GPTQ with
/// those activations as calibration data: gptq.hpp. The softmax quantizer is log_sqrt2.hpp.)
///
/// A channel of equal numbers has no scale; it gets s~. Offline, O(R C) and the sorting of the
/// calibration data, all in double. Throws where extents differ, grids have a scale that is not
/// positive, or data is not finite.
namespace weft::quant {

/// What becomes of the mean of the zeros.
enum class Zero {
  real,   ///< kept as it is, as the reference does
  whole,  ///< rounded
};

/// The grid of each channel of x [T, C] by percentiles. Scale 0 marks a channel of equal numbers.
template <class T>
std::vector<RealZeroGrid> channel_grids(View<const T, 2> x, CodeRange codes) {
  std::vector<RealZeroGrid> out;
  for (Index c = 0; c < x.extent(1); ++c) {
    const auto column = finite_doubles("x", x.slice(1, c, 1));
    const std::span<const double> values = column.span();
    require(!values.empty(), "channel_grids: x is ", x, ", has no rows");
    const auto [lo, hi] = std::minmax_element(values.begin(), values.end());
    if (detail::is_constant(*lo, *hi, codes))
      out.push_back({0, *lo, codes});
    else
      out.push_back(detail::percentile_grid(values, codes));
  }
  return out;
}

/// The same by dual clipping.
template <class T>
std::vector<RealZeroGrid> dual_clipped_grids(View<const T, 2> x, CodeRange codes) {
  constexpr int kFactors = 11;  // 1, 0.95, ..., 0.5
  const auto factor = [](int i) { return 1 - 0.05 * i; };
  std::vector<RealZeroGrid> out;
  for (Index c = 0; c < x.extent(1); ++c) {
    const auto column = finite_doubles("x", x.slice(1, c, 1));
    const std::span<const double> values = column.span();
    require(!values.empty(), "dual_clipped_grids: x is ", x, ", has no rows");
    const auto [lo, hi] = std::minmax_element(values.begin(), values.end());
    RealZeroGrid best{0, *lo, codes};
    double least = std::numeric_limits<double>::infinity();
    const bool constant = detail::is_constant(*lo, *hi, codes);
    for (int i = 0; !constant && i < kFactors * kFactors; ++i) {
      const double low = factor(i / kFactors) * *lo, high = factor(i % kFactors) * *hi;
      if (high <= low || detail::is_constant(low, high, codes)) continue;
      const RealZeroGrid grid = detail::grid_between(low, high, codes);
      const double error = detail::squared_error(grid, values);
      if (error >= least) continue;
      least = error;
      best = grid;
    }
    out.push_back(best);
  }
  return out;
}

/// Moves the differences between the grids of channels into the layers around them.
class ScaleReparameterization {
 public:
  /// Grids as `channel_grids` and `dual_clipped_grids` give them.
  explicit ScaleReparameterization(std::span<const RealZeroGrid> channels, Zero zero = Zero::real)
      : r1_({static_cast<Index>(channels.size())}), r2_({static_cast<Index>(channels.size())}) {
    require(!channels.empty(), "ScaleReparameterization: there are no channels");
    double scales = 0, zeros = 0, count = 0;
    for (const RealZeroGrid& channel : channels) {
      require(channel.scale >= 0 && std::isfinite(channel.scale) && std::isfinite(channel.zero),
              "ScaleReparameterization: a grid has scale ", channel.scale, " and zero ",
              channel.zero);
      require(channel.codes == channels[0].codes,
              "ScaleReparameterization: channels have different codes");
      if (channel.scale == 0) continue;
      scales += channel.scale;
      zeros += channel.zero;
      ++count;
    }
    grid_ = {count == 0 ? 1 : scales / count, count == 0 ? 0 : zeros / count, channels[0].codes};
    if (zero == Zero::whole) grid_.zero = round_half_even(grid_.zero);
    for (Index c = 0; c < this->channels(); ++c) set(c, channels[static_cast<std::size_t>(c)]);
  }

  Index channels() const noexcept { return r1_.extent(0); }
  const RealZeroGrid& grid() const noexcept { return grid_; }  ///< of x', all channels
  double r1(Index c) const noexcept { return r1_(c); }
  double r2(Index c) const noexcept { return r2_(c); }

  /// x' of a number of channel c.
  double apply(double x, Index c) const noexcept { return x / r1_(c) - r2_(c); }

  /// gamma and beta [C] of the norm that writes x.
  template <class T>
  void fold_into_norm(View<T, 1> gamma, View<T, 1> beta) const {
    require(gamma.extent(0) == channels() && beta.extent(0) == channels(), "fold_into_norm: gamma ",
            gamma, " and beta ", beta, " do not have ", channels(), " channels");
    for (Index c = 0; c < channels(); ++c) {
      gamma(c) = static_cast<T>(static_cast<double>(gamma(c)) / r1_(c));
      beta(c) = static_cast<T>(apply(static_cast<double>(beta(c)), c));
    }
  }

  /// weight [R, C] and bias [R] of the layer that reads x.
  template <class T>
  void fold_into_linear(View<T, 2> weight, View<T, 1> bias) const {
    require(weight.extent(1) == channels() && bias.extent(0) == weight.extent(0),
            "fold_into_linear: weight is ", weight, ", bias ", bias, "; there are ", channels(),
            " channels");
    for (Index r = 0; r < weight.extent(0); ++r) {
      double sum = static_cast<double>(bias(r));
      for (Index c = 0; c < channels(); ++c) {
        const double w = static_cast<double>(weight(r, c)) * r1_(c);
        sum += w * r2_(c);
        weight(r, c) = static_cast<T>(w);
      }
      bias(r) = static_cast<T>(sum);
    }
  }

 private:
  void set(Index c, const RealZeroGrid& channel) noexcept {
    const bool constant = channel.scale == 0;  // then `zero` is its value
    const double zero = constant ? -round_half_even(channel.zero / grid_.scale) : channel.zero;
    r1_(c) = constant ? 1 : channel.scale / grid_.scale;
    r2_(c) = (grid_.zero - zero) * grid_.scale;
  }

  RealZeroGrid grid_;
  Tensor<double, 1> r1_, r2_;
};

}  // namespace weft::quant
