/// quant/integer_softmax, quant/log_int_softmax, quant/integer_gelu, quant/integer_layer_norm: what
/// stands between integer products, in integers; quant/repq_vit: probabilities as powers of
/// 1 / sqrt 2. `of_plain` compares with the same in fp32.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/core/activation.hpp>
#include <weft/core/math.hpp>
#include <weft/core/reduce.hpp>
#include <weft/layer/norm.hpp>
#include <weft/quant/integer_gelu.hpp>
#include <weft/quant/integer_layer_norm.hpp>
#include <weft/quant/integer_softmax.hpp>
#include <weft/quant/log_sqrt2.hpp>
#include <weft/quant/shift_product.hpp>

namespace {

using bench::Index;
using bench::uniform;
using weft::DefaultArch;
using weft::Tensor;
using weft::Vec;

constexpr Index kRows = 256, kCols = 512;

bench::Row row(const char* variant, double bytes) {
  return {
      .name = bench::row_name(std::string("quant/") + variant, {{"rows", kRows}, {"cols", kCols}}),
      .bytes = bytes * kRows * kCols,
      .floor = bench::Floor::read};
}

/// Integers in [-largest, largest).
Tensor<std::int32_t, 2> integers(Index rows, Index cols, float largest) {
  const auto values = uniform<float>({rows, cols});
  Tensor<std::int32_t, 2> out({rows, cols});
  for (Index i = 0; i < out.size(); ++i)
    out.data()[i] = static_cast<std::int32_t>(values.data()[i] * largest);
  return out;
}

/// Softmax of a row of fp32 logits.
void softmax_row(const float* x, float* y, Index n) {
  constexpr Index W = weft::kWidth<float>;
  const Vec<float> largest(weft::row_max(x, n));
  for (Index j = 0; j < n; j += W)
    weft::store<DefaultArch>(y + j, weft::math::exp(weft::load<DefaultArch>(x + j) - largest));
  const Vec<float> share(1 / weft::row_sum(y, n));
  for (Index j = 0; j < n; j += W)
    weft::store<DefaultArch>(y + j, weft::load<DefaultArch>(y + j) * share);
}

auto float_softmax() {
  return [x = uniform<float>({kRows, kCols}), y = Tensor<float, 2>({kRows, kCols})]() mutable {
    for (Index r = 0; r < kRows; ++r) softmax_row(x.view().pointer(r), y.view().pointer(r), kCols);
  };
}

template <class S>
void add_softmax(const char* variant, S softmax) {
  row(variant, 5).add([softmax](const weft::Context& context) {
    auto call = [softmax, &context, x = integers(kRows, kCols, 128),
                 y = Tensor<std::uint8_t, 2>({kRows, kCols})]() mutable {
      weft::quant::integer_softmax(softmax, x, y.view(), context);
    };
    return bench::Versus{std::move(call), float_softmax()};
  });
}

void add_shift_product() {
  constexpr Index N = 512, E = 64;
  bench::Row{
      .name = bench::row_name("quant/log_int_softmax/shift_product/u8", {{"N", N}, {"E", E}}),
      .flops = 2.0 * N * N * E}
      .add([](const weft::Context& context) {
        Tensor<std::uint8_t, 2> codes({N, N});
        weft::quant::integer_softmax(weft::quant::LogIntegerSoftmax{0.05}, integers(N, N, 128),
                                     codes.view(), context);
        return [&context, codes = std::move(codes), v = Tensor<std::int8_t, 2>({N, E}),
                out = Tensor<std::int32_t, 2>({N, E})]() mutable {
          weft::quant::shift_product(codes, 16, v, 15, out.view(), context);
        };
      });
}

void add_log_sqrt2() {
  constexpr Index N = 512, E = 64;
  const auto probabilities = [] {
    auto p = uniform<float>({N, N});
    for (float& v : p.span()) v = v * v * v * v / 64;
    return p;
  };
  bench::Row{.name = bench::row_name("quant/repq_vit/encode/f32", {{"rows", N}, {"cols", N}}),
             .bytes = 5.0 * N * N,
             .floor = bench::Floor::read}
      .add([=](const weft::Context& context) {
        return [&context, p = probabilities(), codes = Tensor<std::uint8_t, 2>({N, N})]() mutable {
          weft::quant::log_sqrt2_encode({0.015, 4}, p, codes.view(), context);
        };
      });
  bench::Row{.name = bench::row_name("quant/repq_vit/shift_product/u8", {{"N", N}, {"E", E}}),
             .flops = 2.0 * N * N * E}
      .add([=](const weft::Context& context) {
        const weft::quant::LogSqrt2Grid grid{0.015, 4};
        Tensor<std::uint8_t, 2> codes({N, N});
        weft::quant::log_sqrt2_encode(grid, probabilities(), codes.view(), context);
        return [&context, grid, codes = std::move(codes), v = Tensor<std::int8_t, 2>({N, E}),
                out = Tensor<float, 2>({N, E})]() mutable {
          weft::quant::log_sqrt2_product(grid, codes, v, 0.01, out.view(), context);
        };
      });
}

const bench::Rows rows([] {
  add_log_sqrt2();
  add_softmax("integer_softmax/forward/i32", weft::quant::IntegerSoftmax{0.05});
  add_softmax("log_int_softmax/forward/i32", weft::quant::LogIntegerSoftmax{0.05});
  add_shift_product();
  row("integer_gelu/forward/i32", 12).add([](const weft::Context& context) {
    auto call = [&context, gelu = weft::quant::IntegerGelu(1e-4), x = integers(kRows, kCols, 60000),
                 y = Tensor<std::int64_t, 2>({kRows, kCols})]() mutable {
      weft::quant::integer_gelu(gelu, x, y.view(), context);
    };
    auto plain = [x = uniform<float>({kRows, kCols}),
                  y = Tensor<float, 2>({kRows, kCols})]() mutable {
      for (Index i = 0; i < x.size(); i += weft::kWidth<float>)
        weft::store<DefaultArch>(y.data() + i,
                                 weft::GeluErf{}(weft::load<DefaultArch>(x.data() + i)));
    };
    return bench::Versus{std::move(call), std::move(plain)};
  });
  row("integer_layer_norm/forward/i32", 8).add([](const weft::Context& context) {
    auto call = [&context,
                 norm = weft::quant::IntegerLayerNorm(uniform<float>({kCols}, 2),
                                                      uniform<float>({kCols}, 3)),
                 x = integers(kRows, kCols, 1e6f), y = Tensor<float, 2>({kRows, kCols})]() mutable {
      norm.apply(x, y.view(), context);
    };
    auto plain = [&context, weight = uniform<float>({kCols}, 2), bias = uniform<float>({kCols}, 3),
                  x = uniform<float>({kRows, kCols}),
                  y = Tensor<float, 2>({kRows, kCols})]() mutable {
      weft::normalize(weft::LayerNorm<float>{weight.view(), bias.view()}, x, y, context);
    };
    return bench::Versus{std::move(call), std::move(plain)};
  });
});

}  // namespace
