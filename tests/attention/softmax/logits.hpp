#pragma once

#include "support/values.hpp"
#include <weft/attention/softmax/mixer.hpp>

/// What a normalizer makes of given logits.
namespace cases {

/// The weights [N][M] for logits x [N, M]: attention of zeros with x as a bias (-inf hides a key),
/// over values that name their keys.
template <class Z, class T>
std::vector<std::vector<double>> weights_of(const Z& normalizer, const weft::Tensor<T, 2>& x) {
  using namespace weft;
  const Index N = x.extent(0), M = x.extent(1);
  Tensor<T, 4> zeros({1, 1, std::max(N, M), 1}), names({1, 1, M, M}), out({1, 1, N, M});
  for (Index j = 0; j < M; ++j) names(0, 0, j, j) = 1;
  const AdditiveBias<T> bias(View<const T, 4>(x.data(), {1, 1, N, M}));
  forward(Softmax{NoMask{}, bias, normalizer}, zeros.view().slice(2, 0, N),
          zeros.view().slice(2, 0, M), names, out);
  std::vector<std::vector<double>> weights;
  for (Index i = 0; i < N; ++i)
    weights.push_back(doubles_of(out.view().select(0, 0).select(0, 0).select(0, i)));
  return weights;
}

inline double sum_of(const std::vector<double>& row) {
  double sum = 0;
  for (const double x : row) sum += x;
  return sum;
}

/// One row of logits.
inline weft::Tensor<double, 2> row_of(const std::vector<double>& logits) {
  weft::Tensor<double, 2> x({1, static_cast<weft::Index>(logits.size())});
  std::copy(logits.begin(), logits.end(), x.data());
  return x;
}

}  // namespace cases
