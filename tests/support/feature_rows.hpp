#pragma once

#include <weft/attention/linear/feature.hpp>
#include <weft/core/tensor.hpp>

#include <limits>

/// Features of rows x [B, H, N, D] by a feature map, [B, H, N, F], without an engine around it.
/// Room behind the features is NaN beforehand: whoever reads it is noticed.
template <class T, class F>
weft::Tensor<T, 4> features_of(const F& map, const weft::View<const T, 4>& x, bool keys) {
  using weft::Index;
  constexpr Index W = weft::kWidth<T>;
  const Index N = x.extent(2), D = x.extent(3), features = weft::detail::feature_count(map, D);
  const Index ld = weft::round_up(D, W), to_ld = weft::round_up(features, W);
  weft::Tensor<T, 4> out({x.extent(0), x.extent(1), N, features});
  weft::Arena arena;
  for (Index b = 0; b < x.extent(0); ++b)
    for (Index h = 0; h < x.extent(1); ++h) {
      weft::Tensor<T, 2> from({N, ld}), to({N, to_ld});
      std::fill_n(to.data(), to.size(), std::numeric_limits<T>::quiet_NaN());
      for (Index i = 0; i < N; ++i)
        for (Index d = 0; d < D; ++d) from(i, d) = x(b, h, i, d);
      const weft::Arena::Frame frame(arena);
      weft::detail::map_features<weft::DefaultArch>(
          map, weft::FeatureRows<T>{from.data(), ld, to.data(), to_ld, N, D, b, h, 0, 0, keys},
          arena);
      for (Index i = 0; i < N; ++i)
        for (Index f = 0; f < features; ++f) out(b, h, i, f) = to(i, f);
    }
  return out;
}
