#include "reference/norm.hpp"

#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/threads.hpp"
#include "support/values.hpp"
#include <weft/io/safetensors.hpp>
#include <weft/layer/norm.hpp>

#include <cmath>

using namespace weft;
using reference::Row;

namespace {

/// A reduction over D elements in D / 16 or fewer steps per lane, a square root and a division, and
/// the rounding of the result.
template <class S>
double tolerance(Index channels) {
  const auto eps = static_cast<double>(std::numeric_limits<Accumulator<S>>::epsilon());
  return (8 + static_cast<double>(channels) / 16) * eps +
         0.5 * static_cast<double>(std::numeric_limits<S>::epsilon());
}

template <class S, class F>
std::vector<double> by_rows(View<const S, 3> x, F f) {
  std::vector<double> out;
  for (Index i = 0; i < x.extent(0); ++i)
    for (Index j = 0; j < x.extent(1); ++j) {
      const Row row = f(doubles_of(x.select(0, i).select(0, j)), i);
      out.insert(out.end(), row.begin(), row.end());
    }
  return out;
}

template <class S, class Norm, class F>
void require_reference(const Norm& norm, const Tensor<S, 3>& x, F f) {
  Poisoned<S, 3> y(x.shape());
  normalize(norm, x, y.view());
  const auto expected = by_rows<S>(x, [&](const Row& row, Index) { return f(row); });
  REQUIRE(largest_error(doubles_of(y.view()), expected) < tolerance<S>(x.extent(2)));
  REQUIRE(y.guards_intact());
}

}  // namespace

TEMPLATE_TEST_CASE("norms agree with the reference", "[layer/layer_norm][layer/rms_norm]", float,
                   double, bf16, fp16) {
  using T = Accumulator<TestType>;
  for (Index channels : {1, 2, 7, 16, 32, 60, 64, 65, 128, 500, 2048}) {
    INFO("D " << channels);
    const auto x = even_values<TestType, 3>({2, 5, channels}, 3, -1, 2);
    const auto w = even_values<T, 1>({channels}, 4), b = even_values<T, 1>({channels}, 5);
    const Row weight = doubles_of(w.view()), bias = doubles_of(b.view());
    const T eps = static_cast<T>(1e-5);
    const double exact_eps = static_cast<double>(eps);

    require_reference(LayerNorm<T>{}, x,
                      [&](const Row& r) { return reference::layer_norm(r, exact_eps); });
    require_reference(LayerNorm<T>{w, b, eps}, x, [&](const Row& r) {
      return reference::layer_norm(r, exact_eps, weight, bias);
    });
    require_reference(RmsNorm<T>{w, eps}, x,
                      [&](const Row& r) { return reference::rms_norm(r, exact_eps, weight); });
    require_reference(SimpleRmsNorm<T>{}, x,
                      [&](const Row& r) { return reference::simple_rms_norm(r, 1e-8); });
    require_reference(L2Norm<T>{}, x, [&](const Row& r) { return reference::l2_norm(r, 1e-12); });
  }
}

TEST_CASE("norms agree with the golden values", "[layer][golden]") {
  const SafetensorsFile golden(WEFT_TEST_DATA "/softmax/norms_adaln.safetensors");
  const auto x = golden.read<double, 3>("c0.x");
  const auto w = golden.read<double, 1>("c0.w"), b = golden.read<double, 1>("c0.b");
  const double eps = golden.read<double, 1>("c0.eps")(0);
  const double depth = golden.read<std::int32_t, 1>("c0.layer_index")(0);
  const auto require_same = [&](const auto& norm, const char* name) {
    INFO(name);
    Tensor<double, 3> y(x.shape());
    normalize(norm, x, y);
    const auto expected = golden.read<double, 3>(name);
    REQUIRE(largest_error(doubles_of(y.view()), doubles_of(expected.view())) < 1e-14);
  };
  require_same(LayerNorm<double>{w, b, eps}, "c0.layernorm");
  require_same(RmsNorm<double>{w, eps}, "c0.rmsnorm");
  require_same(LayerNorm<double>{w, b, eps, 1 / std::sqrt(depth)}, "c0.lns");
}

TEST_CASE("adaptive modulation agrees with the golden values", "[layer][golden]") {
  const SafetensorsFile golden(WEFT_TEST_DATA "/softmax/norms_adaln.safetensors");
  const auto x = golden.read<double, 3>("c0.x");
  const Index channels = x.extent(2);
  const LayerNorm<double> plain{{}, {}, 1e-6};
  const auto require_same = [&](const char* mod_name, Index shift, const char* name) {
    INFO(name);
    const auto mod = golden.read<double, 2>(mod_name);
    const auto chunk = [&](Index i) {
      return View<const double, 2>(mod.view().slice(1, i * channels, channels));
    };
    Poisoned<double, 3> y(x.shape());
    modulate(plain, x, chunk(shift + 1), chunk(shift), y.view());
    const auto expected = golden.read<double, 3>(name);
    REQUIRE(largest_error(doubles_of(y.view()), doubles_of(expected.view())) < 1e-14);
    REQUIRE(y.guards_intact());
  };
  require_same("c0.adaln_mod", 0, "c0.adaln_msa");
  require_same("c0.adaln_mod", 3, "c0.adaln_mlp");
  require_same("c0.lora_mod", 0, "c0.lora_msa");
}

TEST_CASE("modulation of an affine norm with a gain", "[layer/adaptive_norm]") {
  const auto x = even_values<float, 3>({2, 3, 20}, 1);
  const auto w = even_values<float, 1>({20}, 2), b = even_values<float, 1>({20}, 3);
  const auto scale = even_values<float, 2>({2, 20}, 4), shift = even_values<float, 2>({2, 20}, 5);
  Tensor<float, 3> y(x.shape());
  modulate(LayerNorm<float>{w, b, 1e-5f, 0.5f}, x, scale, shift, y);
  const auto expected = by_rows<float>(x, [&](const Row& r, Index batch) {
    Row row = reference::layer_norm(r, 1e-5, doubles_of(w.view()), doubles_of(b.view()));
    for (std::size_t d = 0; d < row.size(); ++d) {
      const auto i = static_cast<Index>(d);
      row[d] = 0.5 * row[d] * (1 + double{scale(batch, i)}) + double{shift(batch, i)};
    }
    return row;
  });
  REQUIRE(largest_error(doubles_of(y.view()), expected) < tolerance<float>(20));
}

TEST_CASE("a gain scales weight and bias alike", "[layer/layer_norm_scaling]") {
  const auto x = even_values<float, 2>({3, 33}, 1);
  const auto w = even_values<float, 1>({33}, 2), b = even_values<float, 1>({33}, 3);
  Tensor<float, 2> full({3, 33}), half({3, 33});
  normalize(LayerNorm<float>{w, b, 1e-5f}, x, full);
  normalize(LayerNorm<float>{w, b, 1e-5f, 0.5f}, x, half);
  for (Index i = 0; i < 3; ++i)
    for (Index d = 0; d < 33; ++d) REQUIRE(half(i, d) == 0.5f * full(i, d));
}

TEST_CASE("LayerNorm does not cancel far from zero and keeps eps where it matters", "[layer]") {
  Tensor<float, 2> x({2, 256}), y({2, 256});
  const auto noise = even_values<float, 1>({256}, 8);
  for (Index d = 0; d < 256; ++d) {
    x(0, d) = 4096.f + noise(d);  // a variance from mean(x^2) - mean^2 would be noise
    x(1, d) = 0.003f * noise(d);  // variance comparable to eps
  }
  normalize(LayerNorm<float>{}, x, y);
  for (Index row : {0, 1}) {
    const auto expected = reference::layer_norm(doubles_of(x.view().select(0, row)), 1e-5);
    // The mean of values near 4096 is known to an ulp of them, 5e-4 of the spread.
    REQUIRE(largest_error(doubles_of(y.view().select(0, row)), expected) <
            (row == 0 ? 1e-3 : 1e-5));
  }
}

TEST_CASE("norms of degenerate rows", "[layer]") {
  Tensor<float, 2> x({2, 40}), y({2, 40});
  const auto b = even_values<float, 1>({40}, 6);
  for (Index d = 0; d < 40; ++d) x(0, d) = 3.f;
  normalize(LayerNorm<float>{{}, b}, x, y);
  REQUIRE(doubles_of(y.view().select(0, 0)) == doubles_of(b.view()));
  REQUIRE(doubles_of(y.view().select(0, 1)) == doubles_of(b.view()));
  normalize(L2Norm<float>{}, x, y);
  REQUIRE(doubles_of(y.view().select(0, 1)) == std::vector<double>(40, 0.0));

  Tensor<float, 3> none({0, 4, 8});
  REQUIRE_NOTHROW(normalize(RmsNorm<float>{}, none, none));
}

TEST_CASE("norms: QK normalisation of strided heads, in place", "[layer]") {
  const auto packed = even_values<float, 4>({2, 7, 3, 24}, 2);  // [B, N, H, D]
  Tensor<float, 4> in_place = packed.clone(), apart(packed.shape());
  const auto w = even_values<float, 1>({24}, 3);
  const auto heads = in_place.view().transpose(1, 2);
  normalize(RmsNorm{w.view()}, heads, heads);
  normalize(RmsNorm{w.view()}, packed, apart);
  REQUIRE(doubles_of(in_place.view()) == doubles_of(apart.view()));
}

TEST_CASE("L2Norm with an inner epsilon", "[layer]") {
  const auto x = even_values<double, 2>({1, 5}, 2);
  Tensor<double, 2> y({1, 5});
  normalize(L2Norm<double>{1e-12, 1e-2, 3}, x, y);
  double square = 1e-2;
  for (Index d = 0; d < 5; ++d) square += x(0, d) * x(0, d);
  for (Index d = 0; d < 5; ++d) REQUIRE(y(0, d) == Approx(3 * x(0, d) / std::sqrt(square)));
}

TEST_CASE("norms are invariant as they should be", "[layer]") {
  const auto x = even_values<double, 2>({4, 50}, 2);
  Tensor<double, 2> moved({4, 50}), a({4, 50}), b({4, 50});
  for (Index i = 0; i < 4; ++i)
    for (Index d = 0; d < 50; ++d) moved(i, d) = 7 * x(i, d) + 3;
  const LayerNorm<double> norm{{}, {}, 0};
  normalize(norm, x, a);
  normalize(norm, moved, b);
  REQUIRE(largest_error(doubles_of(b.view()), doubles_of(a.view())) < 1e-13);
}

TEST_CASE("norms: threads change no bit", "[layer]") {
  const auto x = even_values<float, 3>({2, 2500, 37}, 1);
  const auto scale = even_values<float, 2>({2, 37}, 2), shift = even_values<float, 2>({2, 37}, 3);
  Tensor<float, 3> one(x.shape()), three(x.shape());
  auto pool = fresh_threads(3);
  const Context threads(pool);
  normalize(LayerNorm<float>{}, x, one);
  normalize(LayerNorm<float>{}, x, three, threads);
  REQUIRE(doubles_of(three.view()) == doubles_of(one.view()));
  modulate(RmsNorm<float>{}, x, scale, shift, one);
  modulate(RmsNorm<float>{}, x, scale, shift, three, threads);
  REQUIRE(doubles_of(three.view()) == doubles_of(one.view()));
}

TEST_CASE("norms refuse wrong arguments", "[layer][errors]") {
  Tensor<float, 2> x({3, 8}), y({3, 8}), shorter({2, 8});
  Tensor<float, 1> w({7});
  REQUIRE(contains(message_of([&] { normalize(RmsNorm<float>{}, x, shorter); }),
                   "y is [2, 8], x is [3, 8]"));
  REQUIRE(contains(message_of([&] { normalize(RmsNorm{w.view()}, x, y); }),
                   "weight has 7 channels, x has 8"));
  REQUIRE(contains(message_of([&] {
                     normalize(LayerNorm<float>{{}, w}, x, y);
                   }),
                   "bias has 7 channels"));
  REQUIRE(contains(message_of([&] { normalize(RmsNorm<float>{{}, -1.f}, x, y); }), "eps is -1"));
  REQUIRE(contains(message_of([&] { normalize(L2Norm<float>{0.f}, x, y); }), "floor is 0"));
  REQUIRE(contains(message_of([&] {
                     normalize(RmsNorm<float>{{}, 1e-5f, std::nanf("")}, x, y);
                   }),
                   "gain is"));
  const auto across = x.view().transpose(0, 1);
  REQUIRE(contains(message_of([&] { normalize(RmsNorm<float>{}, across, across); }),
                   "must be contiguous"));
  Tensor<float, 3> batch({2, 3, 8});
  Tensor<float, 2> mod({3, 8});
  REQUIRE(contains(message_of([&] { modulate(RmsNorm<float>{}, batch, mod, mod, batch); }),
                   "scale is [3, 8], shift [3, 8], x [2, 3, 8]"));
}
