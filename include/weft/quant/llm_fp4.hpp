#pragma once

#include <weft/core/gemm.hpp>
#include <weft/quant/doubles.hpp>
#include <weft/quant/import_tables.hpp>

#include <limits>
#include <vector>

/// LLM-FP4: 4-Bit Floating-Point Quantized Transformers (arXiv 2310.16836): a linear layer whose
/// weight and activations are floating-point numbers with real exponent biases
/// (real_bias_format.hpp).
///
///   weight [R, C]        bias b_r of each output
///   activations [T, C]   bias rho + k_c of channel c, k_c = clamp(rint(b_c), rint(rho),
///                        rint(rho) + 2^E - 1) - rint(rho), b_c being the min-max bias of the
///                        channel
///   y                    x_dq w_dq^T + bias
///
/// The integers k_c are pre-shifted exponent biases: Q(x; rho + k) = 2^-k Q(2^k x; rho), so that
/// all channels share rho once the layer before multiplies channel c by 2^k_c (`fold_into_norm`).
/// In the product the factor 2^-k_c belongs to column c of the weight, which is quantized without
/// it and therefore exact.
///
/// The search, for calibration tokens x and y0 = x w^T in full precision, with candidates
/// b f_i, f_i = 0.01 + 0.0119 i, i = 0 .. 99, of a min-max bias b (for rho: the least b_c) and the
/// objective of the least squared error of y, the first candidate on ties:
///
///   start        min-max biases; half of the bits behind the sign are the mantissa (4 bits: E2M1)
///   each round   for every format: biases of the weight, each output by itself, for the present
///                activations; then for every format: rho of the activations, for the present
///                weight; then the best format of the weight, and that of the activations
///
/// The present weight and activations are those of the formats chosen last, with the biases found
/// last; in the first round they are the start.
///
/// Formats have M = 0 .. bits - 2 mantissa bits; of 8 bits M = 2 .. 6. The reference clips at twice
/// the range where its tensors are integers; here the largest value is that of the paper.
///
/// Offline, in double: 200 formats R C T multiply-adds a round. Throws where shapes differ, there
/// are no tokens, bits or rounds are out of range, or data is not finite.
namespace weft::quant {

/// What the search finds, and all that quantizing the layer needs.
struct LlmFp4Layer {
  RealBiasFormat weight_format, activation_format;
  Tensor<double, 1> weight_bias;  ///< [R]
  double rho = 0;
  Tensor<std::int32_t, 1> shift;  ///< k [C], 0 to 2^E - 1
};

/// min-max bias of each column of x [T, C].
inline std::vector<double> channel_biases(View<const double, 2> x, RealBiasFormat format) {
  std::vector<double> out;
  for (Index c = 0; c < x.extent(1); ++c) {
    double largest = 0;
    for (Index t = 0; t < x.extent(0); ++t) largest = std::max(largest, std::abs(x(t, c)));
    out.push_back(min_max_bias(format, largest));
  }
  return out;
}

/// k of channels with these biases, for the tensor bias rho.
inline Tensor<std::int32_t, 1> pre_shifts(const std::vector<double>& biases, double rho,
                                          RealBiasFormat format) {
  Tensor<std::int32_t, 1> out({static_cast<Index>(biases.size())});
  const double low = round_half_even(rho), high = low + (1 << format.exponent_bits) - 1;
  for (Index c = 0; c < out.extent(0); ++c) {
    const double bias = round_half_even(biases[static_cast<std::size_t>(c)]);
    out(c) = static_cast<std::int32_t>(std::clamp(bias, low, high) - low);
  }
  return out;
}

/// The weight [R, C] on its grids.
template <class T>
Tensor<double, 2> quantize_weight(const LlmFp4Layer& layer, View<const T, 2> weight) {
  require(weight.extent(0) == layer.weight_bias.extent(0), "quantize_weight: the weight is ",
          weight, ", there are ", layer.weight_bias.extent(0), " biases");
  auto out = doubles(weight);
  for (Index r = 0; r < out.extent(0); ++r) {
    const RealBiasGrid grid(layer.weight_format, layer.weight_bias(r));
    for (Index c = 0; c < out.extent(1); ++c) out(r, c) = grid.round_trip(out(r, c));
  }
  return out;
}

/// Activations [T, C] on theirs.
template <class T>
Tensor<double, 2> quantize_activations(const LlmFp4Layer& layer, View<const T, 2> x) {
  require(x.extent(1) == layer.shift.extent(0), "quantize_activations: x is ", x, ", there are ",
          layer.shift.extent(0), " channels");
  auto out = doubles(x);
  for (Index c = 0; c < out.extent(1); ++c) {
    const RealBiasGrid grid(layer.activation_format, layer.rho + layer.shift(c));
    for (Index t = 0; t < out.extent(0); ++t) out(t, c) = grid.round_trip(out(t, c));
  }
  return out;
}

/// gamma and beta [C] of the norm before, so that all channels have the bias rho.
template <class T>
void fold_into_norm(const LlmFp4Layer& layer, View<T, 1> gamma, View<T, 1> beta) {
  const Index C = layer.shift.extent(0);
  require(gamma.extent(0) == C && beta.extent(0) == C, "fold_into_norm: gamma ", gamma,
          " and beta ", beta, " do not have ", C, " channels");
  for (Index c = 0; c < C; ++c) {
    gamma(c) = std::ldexp(gamma(c), layer.shift(c));
    beta(c) = std::ldexp(beta(c), layer.shift(c));
  }
}

/// The codes of a weight of 4 bits for FourBitOperator, with activations that are not shifted.
/// Scales 2^-b are rounded to fp16 (import_tables.hpp). Throws for other formats.
template <class A = DefaultArch>
FourBitWeight<A> pack_weight(const LlmFp4Layer& layer, View<const float, 2> weight) {
  require(weight.extent(0) == layer.weight_bias.extent(0), "pack_weight: the weight is ", weight,
          ", there are ", layer.weight_bias.extent(0), " biases");
  Tensor<std::uint8_t, 2> codes(weight.shape());
  for (Index r = 0; r < weight.extent(0); ++r) {
    const RealBiasGrid grid(layer.weight_format, layer.weight_bias(r));
    for (Index c = 0; c < weight.extent(1); ++c)
      codes(r, c) = static_cast<std::uint8_t>(grid.encode(static_cast<double>(weight(r, c))));
  }
  return four_bit_weight<A>(codes, layer.weight_format, layer.weight_bias);
}

namespace detail {

/// The search for one layer.
template <class A>
class LlmFp4Search {
 public:
  LlmFp4Search(View<const float, 2> x, View<const float, 2> weight, int bits, const Context& ctx)
      : ctx_(ctx), x_(finite_doubles("x", x)), w_(finite_doubles("weight", weight)) {
    require(x.extent(1) == weight.extent(1) && x.extent(0) >= 1, "llm_fp4_search: x is ", x,
            ", the weight ", weight, "; wanted [T, C] and [R, C] with one token at least");
    require(bits >= 3 && bits <= 8, "llm_fp4_search: ", bits, " bits, must be 3 to 8");
    y0_ = product(x_, w_);
    const int least = bits == 8 ? 2 : 0, most = bits - 2;
    for (int m = least; m <= most; ++m) add({bits - 1 - m, m});
    formats_ = weights_.size();
    add(weights_[static_cast<std::size_t>((bits - 1) / 2 - least)].format);
    weight_ = activation_ = formats_;
  }

  void round() {
    const auto searched_for = quantized(activations_[activation_]);
    for (std::size_t i = 0; i < formats_; ++i) search(weights_[i], searched_for);
    // Of the present format these are the biases just found, except in the first round.
    const auto wq = quantized(weights_[weight_]);
    for (std::size_t i = 0; i < formats_; ++i) search(activations_[i], wq);
    const auto xq = quantized(activations_[activation_]);
    weight_ = best([&](std::size_t i) { return total(errors(xq, quantized(weights_[i]))); });
    const auto chosen = quantized(weights_[weight_]);
    activation_ =
        best([&](std::size_t i) { return total(errors(quantized(activations_[i]), chosen)); });
  }

  LlmFp4Layer result() const {
    const WeightChoice& weight = weights_[weight_];
    const ActivationChoice& activation = activations_[activation_];
    return {weight.format, activation.format, weight.bias.clone(), activation.rho,
            pre_shifts(activation.biases, activation.rho, activation.format)};
  }

 private:
  /// One format of the weight: min-max biases, and those found.
  struct WeightChoice {
    RealBiasFormat format;
    Tensor<double, 1> min_max, bias;
  };
  /// One format of the activations.
  struct ActivationChoice {
    RealBiasFormat format;
    std::vector<double> biases;
    double min_max, rho;
  };

  void add(RealBiasFormat format) {
    weights_.push_back(min_max_weight(format));
    activations_.push_back(min_max_activations(format));
  }

  static constexpr int kCandidates = 100;
  static double factor(int i) noexcept { return 0.01 + i * (1.2 - 0.01) / kCandidates; }

  WeightChoice min_max_weight(RealBiasFormat format) const {
    Tensor<double, 1> bias({w_.extent(0)});
    for (Index r = 0; r < w_.extent(0); ++r) {
      double largest = 0;
      for (Index c = 0; c < w_.extent(1); ++c) largest = std::max(largest, std::abs(w_(r, c)));
      bias(r) = min_max_bias(format, largest);
    }
    auto start = bias.clone();
    return {format, std::move(bias), std::move(start)};
  }

  ActivationChoice min_max_activations(RealBiasFormat format) const {
    auto biases = channel_biases(x_, format);
    const double least = biases.empty() ? 0 : *std::min_element(biases.begin(), biases.end());
    return {format, std::move(biases), least, least};
  }

  Tensor<double, 2> quantized(const WeightChoice& choice) const {
    return quantize_weight<double>({choice.format, {}, choice.bias.clone(), 0, {}}, w_);
  }
  Tensor<double, 2> quantized(const ActivationChoice& choice) const {
    return quantize_activations<double>(
        {{}, choice.format, {}, choice.rho, pre_shifts(choice.biases, choice.rho, choice.format)},
        x_);
  }

  Tensor<double, 2> product(const Tensor<double, 2>& x, const Tensor<double, 2>& w) const {
    Tensor<double, 2> y({x.extent(0), w.extent(0)});
    gemm<A>(x, w.view().transpose(0, 1), y, ctx_);
    return y;
  }

  /// Squared error of each output over all tokens.
  Tensor<double, 1> errors(const Tensor<double, 2>& xq, const Tensor<double, 2>& wq) const {
    const auto y = product(xq, wq);
    Tensor<double, 1> out({y.extent(1)});
    for (Index t = 0; t < y.extent(0); ++t)
      for (Index r = 0; r < y.extent(1); ++r) {
        const double d = y(t, r) - y0_(t, r);
        out(r) += d * d;
      }
    return out;
  }
  static double total(const Tensor<double, 1>& errors) noexcept {
    double sum = 0;
    for (const double e : errors.span()) sum += e;
    return sum;
  }

  /// The bias of each output for activations xq.
  void search(WeightChoice& choice, const Tensor<double, 2>& xq) const {
    const Index R = w_.extent(0);
    Tensor<double, 1> least({R});
    std::fill_n(least.data(), R, std::numeric_limits<double>::infinity());
    WeightChoice candidate{choice.format, {}, Tensor<double, 1>({R})};
    for (int i = 0; i < kCandidates; ++i) {
      for (Index r = 0; r < R; ++r) candidate.bias(r) = factor(i) * choice.min_max(r);
      const auto error = errors(xq, quantized(candidate));
      for (Index r = 0; r < R; ++r) {
        if (error(r) >= least(r)) continue;
        least(r) = error(r);
        choice.bias(r) = candidate.bias(r);
      }
    }
  }

  /// rho for the weight wq.
  void search(ActivationChoice& choice, const Tensor<double, 2>& wq) const {
    double least = std::numeric_limits<double>::infinity();
    ActivationChoice candidate = choice;
    for (int i = 0; i < kCandidates; ++i) {
      candidate.rho = factor(i) * choice.min_max;
      const double error = total(errors(quantized(candidate), wq));
      if (error >= least) continue;
      least = error;
      choice.rho = candidate.rho;
    }
  }

  /// The first format of the least error.
  template <class F>
  std::size_t best(F error_of) const {
    std::size_t at = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < formats_; ++i) {
      const double error = error_of(i);
      if (error >= least) continue;
      least = error;
      at = i;
    }
    return at;
  }

  const Context& ctx_;
  Tensor<double, 2> x_, w_, y0_;
  std::vector<WeightChoice> weights_;  ///< the best found of each format, and last the start
  std::vector<ActivationChoice> activations_;
  std::size_t formats_ = 0;
  std::size_t weight_ = 0, activation_ = 0;  ///< the present ones
};

}  // namespace detail

/// Formats and biases of a layer with this weight [R, C] for calibration tokens x [T, C].
template <class A = DefaultArch>
LlmFp4Layer llm_fp4_search(View<const float, 2> x, View<const float, 2> weight, int bits = 4,
                           int rounds = 3, const Context& ctx = Context{}) {
  require(rounds >= 0, "llm_fp4_search: ", rounds, " rounds");
  detail::LlmFp4Search<A> search(x, weight, bits, ctx);
  for (int i = 0; i < rounds; ++i) search.round();
  return search.result();
}

}  // namespace weft::quant
