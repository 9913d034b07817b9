#pragma once

#include "golden/metadata.hpp"

#include <cmath>
#include <string>

/// What the attention mechanisms share: inputs, and the magnitude of their logits.
namespace golden {

using weft::Index;
using weft::SafetensorsFile;
using weft::Tensor;

/// Queries, keys and values of one case, [B, H, N, D] and likewise.
template <class T>
struct Inputs {
  Inputs(const SafetensorsFile& file, const std::string& name)
      : q(file.read<T, 4>(name + ".q")),
        k(file.read<T, 4>(name + ".k")),
        v(file.read<T, 4>(name + ".v")) {}

  Tensor<T, 4> q, k, v;
};

/// The scale of a case, or 1 / sqrt(D).
inline double scale_or_default(double scale, Index channels) {
  return scale != 0 ? scale : 1 / std::sqrt(static_cast<double>(channels));
}

/// Largest |scale q . k| of any query with any key of any head.
template <class T, std::size_t Rank>
double largest_logit(const Tensor<T, Rank>& q, const Tensor<T, Rank>& k, double scale) {
  const Index d = q.extent(Rank - 1);
  double largest = 0;
  for (Index i = 0; i < q.size(); i += d) {
    for (Index j = 0; j < k.size(); j += d) {
      double dot = 0;
      for (Index c = 0; c < d; ++c) dot += double(q.data()[i + c]) * double(k.data()[j + c]);
      largest = std::max(largest, std::abs(scale * dot));
    }
  }
  return largest;
}

/// Runs `forward_with_lse(mixer, in..., out, lse)` into fresh memory and compares with case.out and
/// case.lse. Returns lse.
template <class T, class Mixer>
Tensor<T, 3> check_forward(Case& c, const SafetensorsFile& file, const std::string& name,
                           const Mixer& mixer, const Inputs<T>& in) {
  auto out = unwritten<T, 4>({in.q.extent(0), in.q.extent(1), in.q.extent(2), in.v.extent(3)});
  auto lse = unwritten<T, 3>({in.q.extent(0), in.q.extent(1), in.q.extent(2)});
  forward_with_lse(mixer, in.q, in.k, in.v, out, lse);
  const Tolerance tolerance = tolerance_for_logits(
      largest_logit(in.q, in.k, scale_or_default(mixer.scale, in.q.extent(3))));
  c.compare("out", out, file.read<double, 4>(name + ".out"), tolerance);
  c.compare("lse", lse, file.read<double, 3>(name + ".lse"), tolerance);
  return lse;
}

}  // namespace golden
