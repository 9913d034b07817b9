#include "golden/attention.hpp"
#include "golden/registry.hpp"
#include "support/feature_rows.hpp"
#include <weft/attention/kernelized/performer.hpp>

// linear/performer_favor, linear/random_feature_maps_idiap

namespace golden {
namespace {

using namespace weft;

template <class T, class F>
auto quotient(const F& map, Order order) {
  return LinearAttention{map, NoDecay{}, Additive{}, PlusEpsilon{0}, 1.0, order};
}

template <class T>
void run_favor_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto w = file.read<T, 2>(name + ".W");
  const auto weights = favor_weights<T>(w.view());
  const double eps = file.read<double, 1>(name + ".eps")(0);
  const Order order =
      file.read<std::int32_t, 1>(name + ".causal")(0) != 0 ? Order::causal : Order::bidirectional;
  auto out = unwritten<T, 4>({in.q.extent(0), in.q.extent(1), in.q.extent(2), in.v.extent(3)});
  const auto compare = [&](const std::string& what) {
    c.compare(what, out, file.read<double, 4>(name + what));
  };
  forward(Performer{weights, order, eps}, in.q, in.k, in.v, out);
  compare(".out");
  forward(quotient<T>(PlusConstant<>{}, order), in.q, in.k, in.v, out);
  compare(".relu_noproj_out");
  forward(quotient<T>(Projected<PlusConstant<>, T>(weights), order), in.q, in.k, in.v, out);
  compare(".relu_proj_normalized_out");
  // Without eps the features of a query are published up to a factor.
  if (eps == 0) return;
  c.compare("phi_q",
            features_of<T>(FavorFeatures<T>{&weights, static_cast<T>(eps)}, in.q.view(), false),
            file.read<double, 4>(name + ".phi_q"));
}

void run_favor(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_favor_case<decltype(type)>(c, file, name);
  });
}

/// The largest |y|^2 of each head: y = D^(-1/4) x.
template <class T>
Tensor<T, 2> largest_squares(const View<const T, 4>& x) {
  Tensor<T, 2> out({x.extent(0), x.extent(1)});
  for (Index b = 0; b < x.extent(0); ++b)
    for (Index h = 0; h < x.extent(1); ++h)
      for (Index i = 0; i < x.extent(2); ++i) {
        T sum = 0;
        for (Index d = 0; d < x.extent(3); ++d) sum += x(b, h, i, d) * x(b, h, i, d);
        out(b, h) = std::max(out(b, h), sum / std::sqrt(static_cast<T>(x.extent(3))));
      }
  return out;
}

template <class T>
void run_maps_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 4>(name + ".x");  // [B, N, H, D]
  const auto omega = file.read<T, 2>(name + ".omega");
  const View<const T, 4> rows = x.view().transpose(1, 2);
  const auto check = [&](const std::string& what, const auto& map) {
    const auto got = features_of<T>(map, rows, true);
    auto by_token = unwritten<T, 4>({x.extent(0), x.extent(1), x.extent(2), got.extent(3)});
    for (Index b = 0; b < got.extent(0); ++b)
      for (Index h = 0; h < got.extent(1); ++h)
        for (Index i = 0; i < got.extent(2); ++i)
          for (Index f = 0; f < got.extent(3); ++f) by_token(b, i, h, f) = got(b, h, i, f);
    c.compare(what, by_token, file.read<double, 4>(name + what));
  };
  const View<const T, 2> w = omega.view().transpose(0, 1);
  const auto scaled = favor_weights<T>(w);
  const FeatureWeights<T> plain(w);
  const auto squares = largest_squares<T>(rows);
  const bool stabilize = file.read<std::int32_t, 1>(name + ".stabilize")(0) != 0;
  HyperbolicFeatures<T> hyperbolic{&scaled};
  if (stabilize) hyperbolic.shift = squares;
  check(".favor_hyperbolic", hyperbolic);
  check(".rff", TrigonometricFeatures<T>{&scaled, false});
  check(".generalized_relu", Projected<Relu, T>(plain));
}

void run_maps(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_maps_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"linear/performer_favor", run_favor},
    {"linear/random_feature_maps_idiap", run_maps},
};

}  // namespace

std::span<const Mechanism> linear_performer_mechanisms() { return kMechanisms; }

}  // namespace golden
