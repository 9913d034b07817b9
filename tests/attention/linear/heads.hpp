#pragma once

#include "reference/linear.hpp"
#include "support/values.hpp"
#include <weft/attention/linear.hpp>

#include <string>

/// Linear mixers against the reference, head by head.
namespace linear_cases {

using reference::LinearOptions;
using reference::Rows;
using weft::Index;
using weft::Tensor;
using weft::View;

/// Rows [N, C] of one head as doubles.
template <class T>
Rows rows_of(const View<const T, 4>& x, Index b, Index h) {
  Rows rows;
  for (Index i = 0; i < x.extent(2); ++i)
    rows.push_back(doubles_of(x.select(0, b).select(0, h).select(0, i)));
  return rows;
}

/// q, k, v of any heads; kept small enough that no recurrence grows.
template <class T>
struct Inputs {
  Tensor<T, 4> q, k, v;
  Index heads;

  Inputs(Index B, Index H, Index N, Index D, Index E) : Inputs(B, H, H, H, N, N, D, E) {}
  Inputs(Index B, Index Hq, Index Hk, Index Hv, Index N, Index M, Index D, Index E)
      : q(even_values<T, 4>({B, Hq, N, D}, 1)),
        k(even_values<T, 4>({B, Hk, M, D}, 2)),
        v(even_values<T, 4>({B, Hv, M, E}, 3)),
        heads(std::max({Hq, Hk, Hv})) {
    for (T& x : k.span())
      x = element<T>(static_cast<double>(x) / std::sqrt(static_cast<double>(D)));
  }

  std::array<Index, 4> out_shape() const { return {q.extent(0), heads, q.extent(2), v.extent(3)}; }
};

/// The reference for all heads: `features(rows, is_keys, b, h)` maps channels, `options(b, h)`
/// gives the rest.
template <class T, class Features, class Options>
std::vector<double> expected(const Inputs<T>& in, bool causal, Features features, Options options) {
  std::vector<double> all;
  for (Index b = 0; b < in.q.extent(0); ++b)
    for (Index h = 0; h < in.heads; ++h) {
      const auto head = [&](const Tensor<T, 4>& x) {
        return rows_of<T>(x.view(), b, h / (in.heads / x.extent(1)));
      };
      const Rows q = features(head(in.q), false, b, h), k = features(head(in.k), true, b, h);
      const Rows v = head(in.v);
      const auto E = static_cast<std::size_t>(in.v.extent(3));
      const std::size_t F = !q.empty() ? q[0].size() : 0;
      const Rows out = causal ? reference::recurrence(q, k, v, F, E, options(b, h)).out
                              : reference::all_pairs(q, k, v, E, options(b, h));
      for (const auto& row : out) all.insert(all.end(), row.begin(), row.end());
    }
  return all;
}

inline Rows unchanged(Rows x, bool, Index, Index) { return x; }

/// forward into poisoned memory; the guards are checked by leaving NaN.
template <class T, class Mixer>
std::vector<double> run_forward(const Mixer& mixer, const Inputs<T>& in,
                                const weft::Context& ctx = weft::Context()) {
  const Poisoned<T, 4> out(in.out_shape());
  forward(mixer, in.q, in.k, in.v, out.view(), ctx);
  auto values = doubles_of(out.view());
  if (!out.guards_intact()) values.clear();
  return values;
}

/// Bounds for sums of n products, in units of the type's epsilon; decays add their rounding.
template <class T>
double tolerance(double units) {
  return units * static_cast<double>(std::numeric_limits<weft::Accumulator<T>>::epsilon());
}

}  // namespace linear_cases
