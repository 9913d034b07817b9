#pragma once

#include <weft/core/executor.hpp>
#include <weft/core/gemm.hpp>
#include <weft/core/tensor.hpp>
#include <weft/quant/affine.hpp>
#include <weft/quant/doubles.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

/// Chooses granularity, scheme and scale of a weight together (Q-HyViT: Post-Training Quantization
/// of Hybrid Vision Transformers with Bridge Block Reconstruction, arXiv 2303.12557).
///
/// For a weight W [R, K], calibration inputs X [T, K] and gradients G [T, R] of the loss by the
/// outputs O = X W^T, the error of a quantized weight V is that of the outputs, weighted by a
/// diagonal Hessian:
///
///   mean over t, o of G[t, o]^2 ((X (W - V)^T)[t, o])^2
///
/// Candidates i = 0, ..., 99 shrink or widen the range by f = 0.01 + 0.0119 i, in codes -2^(b-1),
/// ..., 2^(b-1) - 1:
///
///   symmetric   scale = f max |w| / (2^(b-1) - 1), zero = 0
///   asymmetric  lo = f min(min w, 0), hi = f max(max w, 0), scale = (hi - lo) / (2^b - 1),
///               zero = clamp(rint(-2^(b-1) - lo / scale)): the range holds 0, so that the zero
///               point cannot leave the codes
///
/// with one range and one i for the layer, or a range and an i of its own for each output channel.
/// The first of equal errors wins. The paper leaves the candidates open, and a layer inside a
/// bridge block is judged there by the outputs of the whole block; here by its own.
///
/// Time 400 times 2 T R K.
namespace weft::quant {

struct QhyvitOption {
  bool per_channel = false, symmetric = false;
  double error = 0;
  Tensor<std::int32_t, 1> index;  ///< the candidate: [1], or [R] per channel
  Tensor<double, 2> weight;       ///< [R, K]: what the codes stand for
};

struct QhyvitSelection {
  /// layer asymmetric, layer symmetric, channel asymmetric, channel symmetric
  std::array<QhyvitOption, 4> options;
  Index best = 0;  ///< the first of least error

  const QhyvitOption& choice() const { return options[static_cast<std::size_t>(best)]; }
};

namespace detail {

inline constexpr int kQhyvitCandidates = 100;

/// Least and largest of some weights, widened to hold 0.
struct WeightRange {
  double lo = 0, hi = 0;

  explicit WeightRange(View<const double, 2> w) noexcept {
    for (Index r = 0; r < w.extent(0); ++r)
      for (Index k = 0; k < w.extent(1); ++k) {
        lo = std::min(lo, w(r, k));
        hi = std::max(hi, w(r, k));
      }
  }

  AffineGrid<double> grid(double factor, bool symmetric, CodeRange codes) const {
    return symmetric ? symmetric_grid(factor * std::max(-lo, hi), codes)
                     : affine_grid(factor * lo, factor * hi, codes);
  }
};

/// Search of one granularity and scheme.
template <class A>
class QhyvitSearch {
 public:
  QhyvitSearch(const Tensor<double, 2>& w, const Tensor<double, 2>& x,
               View<const float, 2> gradient, const Context& ctx)
      : w_(w),
        x_(x),
        gradient_(gradient),
        ctx_(ctx),
        change_(w.shape()),
        outputs_({x.extent(0), w.extent(0)}) {}

  QhyvitOption run(bool per_channel, bool symmetric, int bits) {
    const Index R = w_.extent(0), parts = per_channel ? R : 1, rows = per_channel ? 1 : R;
    QhyvitOption out{per_channel, symmetric, 0, Tensor<std::int32_t, 1>({parts}),
                     Tensor<double, 2>(w_.shape())};
    Tensor<double, 1> least({parts});
    std::fill_n(least.data(), parts, std::numeric_limits<double>::infinity());
    for (int i = 0; i < kQhyvitCandidates; ++i) {
      const double factor = 0.01 + i * 1.19 / kQhyvitCandidates;
      for (Index p = 0; p < parts; ++p)
        round(p * rows, rows, factor, symmetric, full_signed_codes(bits));
      const Tensor<double, 1> errors = row_errors();
      for (Index p = 0; p < parts; ++p) {
        double error = 0;
        for (Index r = p * rows; r < (p + 1) * rows; ++r) error += errors(r);
        if (!(error < least(p))) continue;
        least(p) = error;
        out.index(p) = i;
        for (Index r = p * rows; r < (p + 1) * rows; ++r)
          for (Index k = 0; k < w_.extent(1); ++k) out.weight(r, k) = w_(r, k) + change_(r, k);
      }
    }
    for (const double e : least.span()) out.error += e / static_cast<double>(outputs_.size());
    return out;
  }

 private:
  /// What rounding changes in some rows that share a grid.
  void round(Index first, Index rows, double factor, bool symmetric, CodeRange codes) {
    const View<const double, 2> part = w_.view().slice(0, first, rows);
    const auto grid = WeightRange(part).grid(factor, symmetric, codes);
    for (Index r = 0; r < rows; ++r)
      for (Index k = 0; k < part.extent(1); ++k)
        change_(first + r, k) = grid.round_trip(part(r, k)) - part(r, k);
  }

  /// sum over tokens of (G o (X D^T))^2 for every output.
  Tensor<double, 1> row_errors() {
    gemm<A>(x_, change_.view().transpose(0, 1), outputs_, ctx_);
    Tensor<double, 1> errors({w_.extent(0)});
    for (Index t = 0; t < outputs_.extent(0); ++t)
      for (Index r = 0; r < outputs_.extent(1); ++r) {
        const double e = static_cast<double>(gradient_(t, r)) * outputs_(t, r);
        errors(r) += e * e;
      }
    return errors;
  }

  const Tensor<double, 2>& w_;
  const Tensor<double, 2>& x_;
  View<const float, 2> gradient_;
  const Context& ctx_;
  Tensor<double, 2> change_, outputs_;
};

}  // namespace detail

/// The four options for a weight [R, K], inputs [T, K] and gradients [T, R]. Throws where shapes
/// disagree or are empty, numbers are not finite, or bits are not 2 to 16.
template <class A = DefaultArch>
QhyvitSelection qhyvit_select(View<const float, 2> weight, View<const float, 2> inputs,
                              View<const float, 2> gradients, int bits,
                              const Context& ctx = Context{}) {
  require(inputs.extent(1) == weight.extent(1) && gradients.extent(1) == weight.extent(0) &&
              gradients.extent(0) == inputs.extent(0),
          "qhyvit_select: the weight is ", weight, ", inputs are ", inputs, ", gradients are ",
          gradients, "; wanted [R, K], [T, K] and [T, R]");
  require(!weight.empty() && !inputs.empty(), "qhyvit_select: there are no weights or no tokens");
  require_finite("gradients", gradients);
  const auto w = finite_doubles("weight", weight), x = finite_doubles("inputs", inputs);
  detail::QhyvitSearch<A> search(w, x, gradients, ctx);
  QhyvitSelection out;
  for (std::size_t i = 0; i < out.options.size(); ++i) {
    out.options[i] = search.run(i / 2 == 1, i % 2 == 1, bits);
    if (out.options[i].error < out.choice().error) out.best = static_cast<Index>(i);
  }
  return out;
}

}  // namespace weft::quant
