#include "compressed_linear.hpp"
#include <weft/quant/awq.hpp>
#include <weft/quant/channel_scale.hpp>
#include <weft/quant/float_format.hpp>
#include <weft/quant/gptq_refine.hpp>
#include <weft/quant/nf4.hpp>
#include <weft/quant/smoothquant.hpp>

namespace compress_model {

namespace {

using namespace weft::quant;
using Norm = std::span<const View<float, 1>>;

Tensor<float, 2> copy(const View<const float, 2>& x) {
  Tensor<float, 2> out(x.shape());
  for (Index r = 0; r < x.extent(0); ++r)
    for (Index c = 0; c < x.extent(1); ++c) out(r, c) = x(r, c);
  return out;
}

float in_half(double x) { return static_cast<float>(weft::fp16(static_cast<float>(x))); }

/// Codes with scale (code - zero), both per group of columns.
template <class Code, class Scale>
void take_integers(const Tensor<Code, 2>& codes, const Tensor<Scale, 2>& scale,
                   const Tensor<std::int32_t, 2>& zero, CompressedLinear& out) {
  out.scale = Tensor<float, 2>(scale.shape());
  out.offset = Tensor<float, 2>(scale.shape());
  for (Index i = 0; i < scale.size(); ++i) {
    out.scale.data()[i] = in_half(double{scale.data()[i]});
    out.offset.data()[i] = in_half(-double{scale.data()[i]} * zero.data()[i]);
  }
  for (Index i = 0; i < codes.size(); ++i) out.codes.data()[i] = codes.data()[i];
}

void round_to_bytes(const View<const float, 2>& weight, CompressedLinear& out) {
  auto q = quantize<std::int8_t>(weight, Scheme{});
  for (Index i = 0; i < q.codes.size(); ++i)
    out.codes.data()[i] = static_cast<std::uint8_t>(q.codes.data()[i]);
  out.scale = std::move(q.scale);
}

void round_to_floats(const View<const float, 2>& weight, CompressedLinear& out) {
  const Float8Weight<kE4M3> q(weight);
  out.scale = Tensor<float, 2>({out.rows, 1});
  for (Index r = 0; r < out.rows; ++r) {
    out.scale(r, 0) = q.scales()[r];
    for (Index c = 0; c < out.cols; ++c) out.codes(r, c) = q.code(r, c);
  }
}

void round_to_integers(const View<const float, 2>& weight, CompressedLinear& out) {
  const auto q = quantize<std::uint8_t>(
      weight,
      {unsigned_codes(out.method.bits), /*symmetric=*/false, Block::group(out.method.group)});
  take_integers(q.codes, q.scale, q.zero, out);
}

void round_to_nearest(const View<const float, 2>& weight, CompressedLinear& out) {
  if (out.method.format == Format::four_bit) return round_to_integers(weight, out);
  if (out.method.format == Format::float8) return round_to_floats(weight, out);
  round_to_bytes(weight, out);
}

/// Moves scales of channels from the norm into the weight.
void fold(const Tensor<double, 1>& scales, Norm norm, Tensor<float, 2>& weight) {
  for (const View<float, 1>& parameters : norm) divide_channels(parameters, scales);
  multiply_inputs(weight, scales);
}

void smoothquant(const View<const float, 2>& weight, const View<const float, 2>& inputs, Norm norm,
                 CompressedLinear& out) {
  if (norm.empty()) return round_to_bytes(weight, out);
  Tensor<double, 1> of_inputs({out.cols}), of_weights({out.cols});
  raise_to_absmax(of_inputs, inputs);
  raise_to_absmax(of_weights, weight);
  Tensor<float, 2> scaled = copy(weight);
  fold(smoothquant_scales(of_inputs, of_weights), norm, scaled);
  round_to_bytes(scaled, out);
}

void awq(const View<const float, 2>& weight, const View<const float, 2>& inputs, Norm norm,
         CompressedLinear& out, const Context& ctx) {
  const AwqOptions options{.bits = out.method.bits, .group = out.method.group};
  Tensor<float, 2> scaled = copy(weight), x = copy(inputs);
  if (!norm.empty()) {
    const View<const float, 2> weights[] = {weight};
    const auto scales = awq_scales(inputs, weights, options, ctx).scale;
    fold(scales, norm, scaled);
    for (Index t = 0; t < x.extent(0); ++t)
      for (Index k = 0; k < x.extent(1); ++k) x(t, k) /= static_cast<float>(scales(k));
  }
  awq_clip(scaled, search_awq_clips(scaled, x, options, 512, ctx));
  const auto q = awq_quantize(finite_doubles("weight", scaled.view()), options);
  take_integers(q.codes, q.scale, q.zero, out);
}

void gptq_columns(const View<const float, 2>& weight, const View<const float, 2>& inputs,
                  CompressedLinear& out, const Context& ctx) {
  GptqHessian hessian(out.cols);
  hessian.add_batch(inputs, ctx);
  // Groups of neighbouring columns, so that what multiplies by them needs no order of its own. More
  // damping than in the paper: there are few tokens for so many columns, and the more is trusted to
  // them, the worse it gets on others.
  constexpr double kDamping = 0.1;
  const auto result = gptq(weight, hessian,
                           {.bits = out.method.bits,
                            .group = out.method.group,
                            .static_groups = true,
                            .activation_order = true,
                            .damping = kDamping},
                           ctx);
  auto groups = offset_groups(result);
  refine(weight, hessian, kDamping, /*sweeps=*/2, groups, ctx);
  out.codes = std::move(groups.codes);
  out.scale = Tensor<float, 2>(groups.scale.shape());
  out.offset = Tensor<float, 2>(groups.scale.shape());
  for (Index i = 0; i < out.scale.size(); ++i) {
    out.scale.data()[i] = in_half(groups.scale.data()[i]);
    out.offset.data()[i] = in_half(groups.offset.data()[i]);
  }
}

/// Nearest values of a table, times the scale of each group.
void look_up(const View<const float, 2>& weight, CompressedLinear& out) {
  const bool nf4 = out.method.search == Search::nf4;
  const float largest = nf4 ? 1 : kE2M1.max();
  const Index group = out.method.group, groups = weft::ceil_div(out.cols, group);
  out.scale = Tensor<float, 2>({out.rows, groups});
  for (Index r = 0; r < out.rows; ++r)
    for (Index g = 0; g < groups; ++g) {
      const Index begin = g * group, end = std::min(begin + group, out.cols);
      float most = 0;
      for (Index c = begin; c < end; ++c) {
        weft::require(std::isfinite(weight(r, c)), "weight (", r, ", ", c, ") is ", weight(r, c));
        most = std::max(most, std::abs(weight(r, c)));
      }
      const float scale = in_half(double{most / largest});
      out.scale(r, g) = scale;
      for (Index c = begin; c < end; ++c) {
        const float x = scale == 0 ? 0 : weight(r, c) / scale;
        out.codes(r, c) = nf4 ? encode_book16(std::clamp(x, -1.f, 1.f), Book16::nf4)
                              : static_cast<std::uint8_t>(kE2M1.encode(x));
      }
    }
}

}  // namespace

CompressedLinear compress_linear(const Method& method, View<const float, 2> weight,
                                 View<const float, 1> bias, View<const float, 2> inputs, Norm norm,
                                 const Context& ctx) {
  CompressedLinear out;
  out.method = method;
  out.rows = weight.extent(0);
  out.cols = weight.extent(1);
  out.codes = Tensor<std::uint8_t, 2>({out.rows, out.cols});
  if (bias.data() != nullptr) {
    out.bias = Tensor<float, 1>(bias.shape());
    std::copy_n(bias.data(), bias.size(), out.bias.data());
  }
  weft::require(!method.calibrates() || inputs.extent(0) > 0, std::string(method.name),
                " needs inputs to calibrate on");
  switch (method.search) {
    case Search::rounding: round_to_nearest(weight, out); break;
    case Search::smoothquant: smoothquant(weight, inputs, norm, out); break;
    case Search::gptq: gptq_columns(weight, inputs, out, ctx); break;
    case Search::awq: awq(weight, inputs, norm, out, ctx); break;
    case Search::nf4:
    case Search::fp4: look_up(weight, out); break;
  }
  return out;
}

}  // namespace compress_model
