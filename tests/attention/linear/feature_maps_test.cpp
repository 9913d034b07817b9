#include "reference/feature_maps.hpp"

#include "support/catch.hpp"
#include "support/feature_rows.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/linear/cosine_feature.hpp>
#include <weft/attention/linear/decorated_feature.hpp>
#include <weft/attention/linear/polynomial_feature.hpp>
#include <weft/attention/linear/projected_feature.hpp>

using namespace weft;
using reference::Vector;

namespace {

constexpr double kTolerance = 1e-13;  // some hundred roundings of fp64

/// Queries and keys [B, H, N, D].
struct Rows {
  Tensor<double, 4> q, k;

  Rows(Index N, Index D, Index B = 1, Index H = 1)
      : q(even_values<double, 4>({B, H, N, D}, 1)), k(even_values<double, 4>({B, H, N, D}, 2)) {}
};

template <class T>
Vector row(const Tensor<T, 4>& x, Index b, Index h, Index i) {
  return doubles_of(x.view().select(0, b).select(0, h).select(0, i));
}

/// phi(q_i) . phi(k_j) for all pairs against a kernel of (q_i, k_j, i, j).
template <class F, class Kernel>
void require_kernel(const F& map, const Rows& in, Kernel kernel) {
  const auto q = features_of<double>(map, in.q.view(), false);
  const auto k = features_of<double>(map, in.k.view(), true);
  std::vector<double> got, wanted;
  for (Index i = 0; i < in.q.extent(2); ++i)
    for (Index j = 0; j < in.k.extent(2); ++j) {
      got.push_back(reference::inner(row(q, 0, 0, i), row(k, 0, 0, j)));
      wanted.push_back(kernel(row(in.q, 0, 0, i), row(in.k, 0, 0, j), i, j));
    }
  CHECK(largest_error(got, wanted) <= kTolerance);
}

/// Every row of features against a function of the row of channels.
template <class F, class Truth>
void require_features(const F& map, const Tensor<double, 4>& x, Truth truth) {
  const auto got = features_of<double>(map, x.view(), true);
  for (Index b = 0; b < x.extent(0); ++b)
    for (Index h = 0; h < x.extent(1); ++h)
      for (Index i = 0; i < x.extent(2); ++i)
        CHECK(largest_error(row(got, b, h, i), truth(row(x, b, h, i), h)) <= kTolerance);
}

/// Weights of H heads as the library and the reference want them.
struct Weights {
  Tensor<double, 3> w;
  Tensor<double, 2> b;

  Weights(Index H, Index F, Index D)
      : w(even_values<double, 3>({H, F, D}, 5)), b(even_values<double, 2>({H, F}, 6)) {}

  Vector operator()(const Vector& x, Index h) const {
    reference::Matrix rows;
    for (Index f = 0; f < w.extent(1); ++f)
      rows.push_back(doubles_of(w.view().select(0, h).select(0, f)));
    return reference::affine(rows, doubles_of(b.view().select(0, h)), x);
  }
};

}  // namespace

TEST_CASE("feature maps: cosFormer is relu times the cosine of the distance",
          "[linear][linear/cosformer]") {
  for (const Index D : {1, 5, 16, 40})
    require_kernel(CosineFeatures{30}, Rows(9, D),
                   [](const Vector& q, const Vector& k, Index i, Index j) {
                     return reference::cosine_kernel(q, k, double(i), double(j), 30);
                   });
}

TEST_CASE("feature maps: Taylor is the series of exp, in both layouts", "[linear/taylor]") {
  for (const Index D : {1, 3, 16, 19})
    for (const bool compact : {true, false})
      require_kernel(Taylor{compact}, Rows(5, D), [](const Vector& q, const Vector& k, auto...) {
        return reference::taylor_kernel(q, k);
      });
  CHECK(Taylor{true}.size(16) == 1 + 16 + 136);
  CHECK(Taylor{false}.size(16) == 1 + 16 + 256);
}

TEST_CASE("feature maps: ReBased is the square of normalised products", "[linear/rebased]") {
  for (const Index D : {2, 9, 24}) {
    const auto gamma = even_values<double, 1>({D}, 7), beta = even_values<double, 1>({D}, 8);
    const Vector g = doubles_of(gamma.view()), b = doubles_of(beta.view());
    require_kernel(
        ReBased<double>{gamma, beta}, Rows(5, D), [&](const Vector& q, const Vector& k, auto...) {
          const double s =
              reference::inner(reference::layer_norm(q, g, b), reference::layer_norm(k, g, b));
          return s * s / static_cast<double>(D);
        });
  }
}

TEST_CASE("feature maps: Polynomial is a power of the product", "[linear/polynomial]") {
  for (const Index D : {1, 2, 7, 12})
    for (const int degree : {1, 2, 3, 4})
      require_kernel(Polynomial{degree}, Rows(4, D),
                     [&](const Vector& q, const Vector& k, auto...) {
                       return std::pow(reference::inner(q, k), degree);
                     });
  CHECK(Polynomial{3}.size(5) == 35);
}

TEST_CASE("feature maps: DPFP rolls relu of both signs", "[linear/dpfp]") {
  const Rows in(6, 11);
  for (const Index nu : {1, 3, 25})
    for (const bool negative : {false, true})
      require_features(Dpfp{nu, negative}, in.k, [&](const Vector& x, Index) {
        return reference::dpfp(x, static_cast<std::size_t>(nu), negative);
      });
}

TEST_CASE("feature maps: learned matrices, one per head or one for all",
          "[linear/hedgehog][linear/t2r]") {
  for (const Index F : {1, 6, 33}) {
    const Weights of_heads(2, F, 10), of_all(1, F, 10);
    const FeatureWeights<double> per_head(of_heads.w, of_heads.b), shared(of_all.w, of_all.b);
    const Rows in(7, 10, 2, 2);
    require_features(Hedgehog(per_head), in.k,
                     [&](const Vector& x, Index h) { return reference::hedgehog(of_heads(x, h)); });
    require_features(JointHedgehog(shared), in.k, [&](const Vector& x, Index) {
      return reference::joint_hedgehog(of_all(x, 0));
    });
    require_features(T2R(per_head), in.k,
                     [&](const Vector& x, Index h) { return reference::relu(of_heads(x, h)); });
  }
}

TEST_CASE("feature maps: Hedgehog takes large projections, and signs swap its halves", "[linear]") {
  Tensor<double, 4> x({1, 1, 2, 2});
  for (Index d = 0; d < 2; ++d) {
    x(0, 0, 0, d) = 800.0 * static_cast<double>(1 - 2 * d);
    x(0, 0, 1, d) = -x(0, 0, 0, d);
  }
  Tensor<double, 2> one({2, 2});
  one(0, 0) = one(1, 1) = 1;
  const FeatureWeights<double> weights(one);
  const auto phi = features_of<double>(Hedgehog(weights), x.view(), true);
  CHECK((row(phi, 0, 0, 0) == Vector{1, 1e-12, 1e-12, 1}));
  CHECK((row(phi, 0, 0, 1) == Vector{1e-12, 1, 1, 1e-12}));
}

TEST_CASE("feature maps: decorations", "[linear][linear/linear_transformer]") {
  const Rows in(6, 5, 2, 1);
  const auto plain = features_of<double>(EluPlusOne{}, in.k.view(), true);

  Tensor<std::int32_t, 1> lengths({2});
  lengths(0) = 4;
  const KeyLengths padded{EluPlusOne{}, lengths};
  const auto keys = features_of<double>(padded, in.k.view(), true);
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < 6; ++i)
      CHECK(row(keys, b, 0, i) == (i < lengths(b) ? row(plain, b, 0, i) : Vector(5, 0.0)));
  CHECK(doubles_of(features_of<double>(padded, in.k.view(), false).view()) ==
        doubles_of(plain.view()));

  const auto factor = even_values<double, 3>({2, 1, 6}, 9);
  const ScaledQueries scaled{EluPlusOne{}, factor};
  const auto queries = features_of<double>(scaled, in.k.view(), false);
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < 6; ++i)
      for (Index d = 0; d < 5; ++d)
        CHECK(queries(b, 0, i, d) == plain(b, 0, i, d) * factor(b, 0, i));

  const auto table = even_values<double, 3>({1, 6, 5}, 10);
  Tensor<double, 4> moved = in.k.clone();
  for (Index b = 0; b < 2; ++b)
    for (Index i = 0; i < 6; ++i)
      for (Index d = 0; d < 5; ++d) moved(b, 0, i, d) += table(0, i, d);
  const PositionedKeys positioned{EluPlusOne{}, table};
  CHECK(doubles_of(features_of<double>(positioned, in.k.view(), true).view()) ==
        doubles_of(features_of<double>(EluPlusOne{}, moved.view(), true).view()));

  const Sides sides{EluPlusOne{}, Relu{}};
  CHECK(doubles_of(features_of<double>(sides, in.k.view(), false).view()) ==
        doubles_of(plain.view()));
  CHECK(doubles_of(features_of<double>(sides, in.k.view(), true).view()) ==
        doubles_of(features_of<double>(Relu{}, in.k.view(), true).view()));
}

TEST_CASE("feature maps: what does not fit is refused", "[linear]") {
  const auto refusal = [](const auto& map) { return message_of([&] { map.check(2, 3, 8); }); };
  const Tensor<std::int32_t, 1> lengths({3});
  CHECK(contains(refusal(KeyLengths{Identity{}, lengths}), "3 lengths for 2 sequences"));
  const Tensor<float, 3> factor({2, 2, 9}), table({3, 9, 7});
  CHECK(contains(refusal(ScaledQueries{Identity{}, factor}), "must be [2, 3, N]"));
  CHECK(contains(refusal(PositionedKeys{Identity{}, table}), "must be [3, N, 8]"));
  CHECK(contains(refusal(Sides{Identity{}, Taylor{}}), "the maps must give as many"));
  CHECK(contains(refusal(CosineFeatures{0}), "horizon is 0"));
  const auto too_far = [](const auto& map) {
    return message_of([&] { map.check_positions(5, 10); });
  };
  const KeyLengths decorated{Sides{CosineFeatures{9}, CosineFeatures{10}}, lengths};
  CHECK(contains(too_far(decorated), "10 tokens, the horizon is 9"));
  CHECK(contains(too_far(PositionedKeys{Identity{}, table}), "10 tokens, the table has 9"));
  CHECK(too_far(ScaledQueries{CosineFeatures{10}, factor}).empty());
  CHECK(contains(refusal(Polynomial{0}), "degree is 0"));
  CHECK(contains(refusal(Dpfp{0}), "nu is 0"));
  const Tensor<float, 1> seven({7});
  CHECK(contains(refusal(ReBased<>{seven, seven}), "for a head size of 8"));
  const Tensor<float, 3> two({2, 4, 8}), narrow({3, 4, 7});
  const FeatureWeights<float> of_two(two), of_seven(narrow);
  CHECK(contains(refusal(Hedgehog(of_two)), "weights of 2 heads for 3"));
  CHECK(contains(refusal(T2R(of_seven)), "weights of 7 columns for a head size of 8"));
  const Tensor<float, 2> bias({2, 5});
  CHECK(contains(message_of([&] { FeatureWeights<float>(two, bias); }), "bias is"));
}
