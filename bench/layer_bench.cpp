#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/layer/ffn.hpp>
#include <weft/layer/norm.hpp>
#include <weft/position/rope.hpp>

#include <cmath>
#include <memory>

/// layer/... and position/...: row kernels beside the plain loops that they replace, and the
/// feed-forward layer. Row kernels read and write once, so reading is their floor; most shapes here
/// stay in the second-level cache, as they do inside a model.
namespace {

using bench::Floor;
using bench::Index;
using weft::Context;
using weft::Tensor;
using weft::View;

/// The three passes of a norm as a compiler sees them.
void plain_layer_norm(View<const float, 2> x, View<float, 2> y) {
  const Index n = x.extent(1);
  for (Index row = 0; row < x.extent(0); ++row) {
    float sum = 0, squares = 0;
    for (Index d = 0; d < n; ++d) sum += x(row, d);
    const float mean = sum / static_cast<float>(n);
    for (Index d = 0; d < n; ++d) squares += (x(row, d) - mean) * (x(row, d) - mean);
    const float factor = 1 / std::sqrt(squares / static_cast<float>(n) + 1e-5f);
    for (Index d = 0; d < n; ++d) y(row, d) = (x(row, d) - mean) * factor;
  }
}

void plain_rope(const weft::RopeFrequencies& f, View<const float, 4> x, View<float, 4> y) {
  const Index pairs = x.extent(3) / 2;
  for (Index h = 0; h < x.extent(1); ++h)
    for (Index n = 0; n < x.extent(2); ++n)
      for (Index i = 0; i < pairs; ++i) {
        const auto angle =
            static_cast<float>(static_cast<double>(n) * f.radians[static_cast<std::size_t>(i)]);
        const float c = std::cos(angle), s = std::sin(angle);
        const float u = x(0, h, n, i), v = x(0, h, n, pairs + i);
        y(0, h, n, i) = u * c - v * s;
        y(0, h, n, pairs + i) = v * c + u * s;
      }
}

template <class S>
constexpr const char* kType = sizeof(S) == 4 ? "f32" : "bf16";

template <class S, class Norm>
void add_norm(const std::string& name, const Norm& norm, Index rows, Index cols) {
  const std::string verb = "layer/" + name + "/forward/" + kType<S>;
  bench::Row{.name = bench::row_name(verb, {{"rows", rows}, {"cols", cols}}),
             .bytes = 2.0 * sizeof(S) * static_cast<double>(rows * cols),
             .floor = Floor::read}
      .add([=](const Context& ctx) {
        auto x = std::make_shared<Tensor<S, 2>>(bench::uniform<S>({rows, cols}));
        auto y = std::make_shared<Tensor<S, 2>>(x->shape());
        return [=, &ctx] { normalize(norm, *x, *y, ctx); };
      });
}

void add_plain_norm(Index rows, Index cols) {
  bench::Row{
      .name = bench::row_name("layer/layer_norm/forward/f32", {{"rows", rows}, {"cols", cols}}),
      .bytes = 8.0 * static_cast<double>(rows * cols),
      .floor = Floor::read}
      .by("naive")
      .add([=] {
        auto x = std::make_shared<Tensor<float, 2>>(bench::uniform<float>({rows, cols}));
        auto y = std::make_shared<Tensor<float, 2>>(x->shape());
        return [=] { plain_layer_norm(*x, *y); };
      });
}

bench::Row rope_row(const char* variant, Index heads, Index length, Index channels) {
  return {.name = bench::row_name(std::string("position/") + variant + "/forward/f32",
                                  {{"H", heads}, {"N", length}, {"D", channels}}),
          .bytes = 8.0 * static_cast<double>(heads * length * channels),
          .floor = Floor::read};
}

void add_rope(const char* variant, weft::RopeLayout layout, Index heads, Index length,
              Index channels) {
  rope_row(variant, heads, length, channels).add([=](const Context& ctx) {
    auto x =
        std::make_shared<Tensor<float, 4>>(bench::uniform<float>({1, heads, length, channels}));
    auto y = std::make_shared<Tensor<float, 4>>(x->shape());
    auto table =
        std::make_shared<weft::RopeTable<float>>(weft::rope_frequencies(channels), layout, length);
    return [=, &ctx] { apply_rope(*table, *x, *y, 0, ctx); };
  });
}

void add_plain_rope(Index heads, Index length, Index channels) {
  rope_row("rope_half", heads, length, channels).by("naive").add([=] {
    auto x =
        std::make_shared<Tensor<float, 4>>(bench::uniform<float>({1, heads, length, channels}));
    auto y = std::make_shared<Tensor<float, 4>>(x->shape());
    return [=, f = weft::rope_frequencies(channels)] { plain_rope(f, *x, *y); };
  });
}

void add_swiglu(Index tokens, Index width, Index hidden) {
  using Dense = weft::DenseOperator<float>;
  bench::Row{.name = bench::row_name("layer/swiglu/forward/f32",
                                     {{"N", tokens}, {"width", width}, {"hidden", hidden}}),
             .flops = 6.0 * static_cast<double>(tokens * width * hidden)}
      .add([=](const Context& ctx) {
        auto layer =
            std::make_shared<weft::SwiGlu<Dense>>(Dense(bench::uniform<float>({2 * hidden, width})),
                                                  Dense(bench::uniform<float>({width, hidden})));
        auto x = std::make_shared<Tensor<float, 2>>(bench::uniform<float>({tokens, width}));
        auto y = std::make_shared<Tensor<float, 2>>(x->shape());
        return [=, &ctx] { layer->apply(x->view(), y->view(), ctx); };
      });
}

const bench::Rows rows([] {
  for (const Index cols : {32, 128, 512, 4096}) {
    const Index count = 131072 / cols;
    add_norm<float>("layer_norm", weft::LayerNorm<>{}, count, cols);
    add_plain_norm(count, cols);
    add_norm<float>("rms_norm", weft::RmsNorm<>{}, count, cols);
  }
  add_norm<weft::bf16>("rms_norm", weft::RmsNorm<>{}, 256, 512);
  add_norm<float>("rms_norm", weft::RmsNorm<>{}, 1, 128);
  for (const Index channels : {32, 64, 128}) {
    add_rope("rope_half", weft::RopeLayout::half, 8, 256, channels);
    add_plain_rope(8, 256, channels);
    add_rope("rope_interleaved", weft::RopeLayout::interleaved, 8, 256, channels);
  }
  add_swiglu(1, 512, 2048);
  add_swiglu(256, 512, 2048);
  add_swiglu(2048, 512, 1408);
});

}  // namespace
