#pragma once

#include <weft/core/tensor.hpp>

#include <algorithm>
#include <cmath>

namespace weft {

/// Projection weights of a new task by convolution (ConTraCon: Exemplar-Free Continual Transformer
/// with Convolutions, arXiv:2308.11357). Per head, with W_h the rows h R / H .. (h + 1) R / H of a
/// query, key or value projection W [R, C] seen as an image of one channel:
///
///   W'_h = conv(W_h, kernel_h) + bias_h + sigma(skip_h) W_h
///
/// a cross-correlation with the kernel of the task, [H, k, k], spread by `dilation` and with zeros
/// beyond the borders, k odd; bias and skip are [H]. Attention with W' is ordinary, the first task
/// uses W itself and the output projection is never changed. Done once per task and cached.
///
/// out [R, C] must not overlap W; sums are in T. Throws where shapes disagree, k is even or the
/// dilation not positive. Time O(R C k^2).
template <class T = float>
struct ConvReweight {
  View<const T, 3> kernel;      ///< [H, k, k]
  View<const T, 1> bias;        ///< [H]
  View<const T, 1> skip_logit;  ///< [H]
  Index dilation = 1;

  void apply(View<const T, 2> weight, View<T, 2> out) const {
    check(weight, out);
    const Index rows = weight.extent(0) / kernel.extent(0);
    for (Index h = 0; h < kernel.extent(0); ++h)
      convolve(h, weight.slice(0, h * rows, rows), out.slice(0, h * rows, rows));
  }

 private:
  void check(View<const T, 2> weight, View<T, 2> out) const {
    const Index heads = kernel.extent(0), k = kernel.extent(1);
    require(k == kernel.extent(2) && k % 2 == 1, "ConvReweight: kernel is ", kernel,
            ", wanted [H, k, k] with k odd");
    require(heads >= 1 && weight.extent(0) % heads == 0, "ConvReweight: ", heads, " heads share ",
            weight.extent(0), " rows; the first must divide the second");
    require(bias.extent(0) == heads && skip_logit.extent(0) == heads,
            "ConvReweight: ", bias.extent(0), " biases and ", skip_logit.extent(0), " skips for ",
            heads, " heads");
    require(dilation >= 1, "ConvReweight: dilation is ", dilation, ", wanted 1 or more");
    require(weight.shape() == out.shape(), "ConvReweight: weight is ", weight, ", out is ", out);
  }

  /// Tap by tap, so that the inner loop runs along rows.
  void convolve(Index h, View<const T, 2> from, View<T, 2> to) const {
    const Index k = kernel.extent(1), rows = from.extent(0), columns = from.extent(1);
    const T skip = 1 / (1 + std::exp(-skip_logit(h)));
    for (Index r = 0; r < rows; ++r)
      for (Index c = 0; c < columns; ++c) to(r, c) = bias(h) + skip * from(r, c);
    for (Index i = 0; i < k; ++i)
      for (Index j = 0; j < k; ++j) {
        const Index down = (i - k / 2) * dilation, across = (j - k / 2) * dilation;
        const Index first = std::max<Index>(0, -across), last = std::min(columns, columns - across);
        for (Index r = std::max<Index>(0, -down); r < std::min(rows, rows - down); ++r)
          for (Index c = first; c < last; ++c)
            to(r, c) += kernel(h, i, j) * from(r + down, c + across);
      }
  }
};

}  // namespace weft
