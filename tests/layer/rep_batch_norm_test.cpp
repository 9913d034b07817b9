#include "reference/norm.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/layer/rep_batch_norm.hpp>

using namespace weft;

namespace {

constexpr Index R = 7, C = 5, K = 4;
constexpr double kTolerance = 1e-14;

/// The parameters of a norm, variances positive.
struct Parameters {
  Tensor<double, 1> gamma = even_values<double, 1>({C}, 1), beta = even_values<double, 1>({C}, 2);
  Tensor<double, 1> mean = even_values<double, 1>({C}, 3);
  Tensor<double, 1> variance = even_values<double, 1>({C}, 4, 0.1, 2);

  RepBatchNorm<double> norm() const { return {gamma, beta, mean, variance, 0.75}; }
};

/// y = W x + c.
Tensor<double, 2> linear(const Tensor<double, 2>& x, const Tensor<double, 2>& w,
                         const Tensor<double, 1>& c) {
  Tensor<double, 2> y({x.extent(0), w.extent(0)});
  for (Index i = 0; i < x.extent(0); ++i)
    for (Index r = 0; r < w.extent(0); ++r) {
      y(i, r) = c(r);
      for (Index k = 0; k < w.extent(1); ++k) y(i, r) += w(r, k) * x(i, k);
    }
  return y;
}

Tensor<double, 2> normed(const ChannelAffine<double>& affine, const Tensor<double, 2>& x) {
  Tensor<double, 2> y(x.shape());
  apply_affine(affine, x, y);
  return y;
}

void require_same(const Tensor<double, 2>& got, const Tensor<double, 2>& wanted) {
  CHECK(largest_error(doubles_of(got.view()), doubles_of(wanted.view())) <= kTolerance);
}

}  // namespace

TEST_CASE("rep batch norm: an affine map of each channel", "[layer][layer/prep_bn]") {
  const Parameters p;
  const auto x = even_values<double, 2>({R, C}, 5);
  Tensor<double, 2> wanted({R, C});
  for (Index i = 0; i < R; ++i)
    for (Index c = 0; c < C; ++c)
      wanted(i, c) =
          reference::rep_batch_norm(x(i, c), p.gamma(c), p.beta(c), p.mean(c), p.variance(c), 0.75);
  require_same(normed(ChannelAffine<double>(p.norm()), x), wanted);
}

TEST_CASE("rep batch norm: folds change nothing", "[layer]") {
  const Parameters p;
  const ChannelAffine<double> affine(p.norm());
  const auto x = even_values<double, 2>({R, K}, 6), y = even_values<double, 2>({R, C}, 7);
  SECTION("into the next layer") {
    auto w = even_values<double, 2>({K, C}, 8);
    auto c = even_values<double, 1>({K}, 9);
    const auto before = linear(normed(affine, y), w, c);
    fold_into_next(affine, w.view(), c.view());
    require_same(linear(y, w, c), before);
  }
  SECTION("into the previous layer, with a bias") {
    auto w = even_values<double, 2>({C, K}, 8);
    auto c = even_values<double, 1>({C}, 9);
    const auto before = normed(affine, linear(x, w, c));
    fold_into_previous(affine, w.view(), c.view());
    require_same(linear(x, w, c), before);
  }
  SECTION("through a residual stream") {
    // s1 = W1 x + c1 is written first and read by R, s2 = s1 + W2 (R s1) + c2; then the norm.
    auto w1 = even_values<double, 2>({C, K}, 8), w2 = even_values<double, 2>({C, K}, 9);
    auto c1 = even_values<double, 1>({C}, 10), c2 = even_values<double, 1>({C}, 11);
    auto reader = even_values<double, 2>({K, C}, 12);
    const Tensor<double, 1> none({K});
    const auto stream = [&] {
      auto s = linear(x, w1, c1);
      const auto more = linear(linear(s, reader, none), w2, c2);
      for (Index i = 0; i < s.size(); ++i) s.data()[i] += more.data()[i];
      return s;
    };
    const auto before = normed(affine, stream());
    fold_into_writer(affine, w1.view(), c1.view(), false);
    fold_into_writer(affine, w2.view(), c2.view(), true);
    fold_into_reader(affine, reader.view());
    CHECK(largest_error(doubles_of(stream().view()), doubles_of(before.view())) <= 1e-13);
  }
}

TEST_CASE("rep batch norm: while training it moves from LayerNorm to RepBN", "[layer]") {
  Parameters p;
  const auto x = even_values<double, 2>({R, C}, 5);
  batch_statistics(x, p.mean.view(), p.variance.view());
  double sum = 0, squares = 0;
  for (Index i = 0; i < R; ++i) sum += x(i, 2) / R;
  for (Index i = 0; i < R; ++i) squares += (x(i, 2) - sum) * (x(i, 2) - sum) / R;
  CHECK(p.mean(2) == Approx(sum));
  CHECK(p.variance(2) == Approx(squares));
  const ChannelAffine<double> affine(p.norm());
  const LayerNorm<double> layer_norm{p.gamma, p.beta};
  Tensor<double, 2> normal({R, C}), y({R, C});
  normalize(layer_norm, x, normal);
  const auto rep = normed(affine, x);
  for (const double lambda : {0.0, 0.25, 1.0}) {
    progressive_norm(layer_norm, affine, lambda, x, y);
    for (Index i = 0; i < y.size(); ++i)
      CHECK(y.data()[i] ==
            Approx(lambda * normal.data()[i] + (1 - lambda) * rep.data()[i]).margin(1e-14));
  }
}

TEST_CASE("rep batch norm: what does not fit is refused", "[layer]") {
  Parameters p;
  const ChannelAffine<double> affine(p.norm());
  Tensor<double, 2> narrow({C, C - 1}), wide({K, C});
  Tensor<double, 1> bias({K});
  CHECK(contains(message_of([&] { fold_into_next(affine, narrow.view(), bias.view()); }),
                 "fold_into_next: the norm has 5 channels, the weight 4"));
  CHECK(contains(message_of([&] { fold_into_previous(affine, narrow.view(), bias.view()); }),
                 "bias has 4 values, the weight 5 rows"));
  for (Index c = 0; c < C; ++c) p.gamma(c) = 0;
  auto flat = p.norm();
  flat.alpha = 0;
  const ChannelAffine<double> zero(flat);
  CHECK(contains(message_of([&] { fold_into_reader(zero, wide.view()); }), "a is 0 in channel 0"));
  p.variance(3) = -1;
  CHECK(contains(message_of([&] { ChannelAffine<double>(p.norm()); }), "channel 3 is -0.99"));
  Tensor<double, 2> y({R, C});
  CHECK(contains(message_of([&] { progressive_norm(LayerNorm<double>{}, affine, 1.5, y, y); }),
                 "must be in [0, 1]"));
}
