#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/tensor.hpp>

#include <algorithm>

namespace weft {

/// Depthwise convolution of a map, channels last:
///
///   y[b, r, c, d] = bias[d] + sum_{i, j < k} w[d, i, j] x[b, r + i - k / 2, c + j - k / 2, d]
///
/// a cross-correlation with zeros beyond the borders, which keeps the size. w is [C, k, k] with k
/// odd, bias [C] or empty for none; both are copied, rearranged so that channels are the lanes.
///
/// x and y [B, rows, columns, C], any strides but 1 in the last axis, no overlap; a window of a
/// larger map is a slice, with its own borders. Elements float, bf16 or fp16 with T = float, double
/// with double. Throws when k is even or shapes disagree. Time O(B rows columns C k^2).
template <class T = float, class A = DefaultArch>
class DepthwiseConv {
 public:
  explicit DepthwiseConv(View<const T, 3> weight, View<const T, 1> bias = {})
      : channels_(weight.extent(0)), size_(weight.extent(1)) {
    require(size_ == weight.extent(2) && size_ % 2 == 1, "DepthwiseConv: weight is ", weight,
            ", wanted [C, k, k] with k odd");
    require(bias.data() == nullptr || bias.extent(0) == channels_, "DepthwiseConv: bias has ",
            bias.extent(0), " values for ", channels_, " channels");
    weight_ = Tensor<T, 3>({size_, size_, channels_});
    bias_ = Tensor<T, 1>({channels_});
    for (Index d = 0; d < channels_; ++d) {
      for (Index i = 0; i < size_; ++i)
        for (Index j = 0; j < size_; ++j) weight_(i, j, d) = weight(d, i, j);
      if (bias.data() != nullptr) bias_(d) = bias(d);
    }
  }

  Index channels() const noexcept { return channels_; }
  Index size() const noexcept { return size_; }  ///< k

  /// y = conv(x).
  template <ViewLike<4> X, ViewLike<4> Y>
  void apply(const X& x, Y&& y, const Context& ctx = Context()) const {
    run<Plus::nothing>(view_of(x), view_of(y), ctx);
  }

  /// y += conv(x).
  template <ViewLike<4> X, ViewLike<4> Y>
  void add(const X& x, Y&& y, const Context& ctx = Context()) const {
    run<Plus::output>(view_of(x), view_of(y), ctx);
  }

  /// y = x + conv(x).
  template <ViewLike<4> X, ViewLike<4> Y>
  void apply_residual(const X& x, Y&& y, const Context& ctx = Context()) const {
    run<Plus::input>(view_of(x), view_of(y), ctx);
  }

 private:
  /// What the convolution is added to: the old y, or x.
  enum class Plus { nothing, output, input };

  template <Plus P, class X, class Y>
  void run(const View<X, 4>& x, const View<Y, 4>& y, const Context& ctx) const {
    require(x.shape() == y.shape() && x.extent(3) == channels_, "DepthwiseConv of ", channels_,
            " channels: x is ", x, ", y is ", y, "; wanted one shape [B, rows, columns, C]");
    require(channels_ <= 1 || (x.stride(3) == 1 && y.stride(3) == 1),
            "DepthwiseConv: channels must be contiguous");
    const Index rows = x.extent(1);
    ctx.parallel(x.extent(0) * rows, [&](Index task, Arena&) {
      for (Index d = 0; d < channels_; d += kChannels)
        row<P>(x.select(0, task / rows), y.select(0, task / rows), task % rows, d,
               std::min(channels_, d + kChannels));
    });
  }

  /// Outputs that share a load of the weights, and channels of them that are taken along a row
  /// before the next: their weights, and the inputs that neighbours share, stay in the L1 cache.
  static constexpr Index kBlock = 4, kChannels = 256;

  /// Channels [d0, d1) of row r of one map: blocks of columns where no tap leaves the map, the
  /// others one by one.
  template <Plus P, class X, class Y>
  void row(const View<X, 3>& x, const View<Y, 3>& y, Index r, Index d0, Index d1) const noexcept {
    const Index half = size_ / 2, columns = x.extent(1);
    for (Index c = 0; c < columns;) {
      const bool inside = c >= half && c + kBlock + half <= columns;
      if (inside)
        pixels<P, kBlock>(x, y, r, c, 0, size_, d0, d1);
      else
        pixels<P, 1>(x, y, r, c, std::max<Index>(0, half - c), std::min(size_, columns + half - c),
                     d0, d1);
      c += inside ? kBlock : 1;
    }
  }

  /// Outputs c .. c + Block - 1 of row r, from the taps j0 <= j < j1 of each row of the kernel.
  template <Plus P, Index Block, class X, class Y>
  void pixels(const View<X, 3>& x, const View<Y, 3>& y, Index r, Index c, Index j0, Index j1,
              Index d0, Index d1) const noexcept {
    const Index half = size_ / 2;
    const Index i0 = std::max<Index>(0, half - r), i1 = std::min(size_, x.extent(0) + half - r);
    const Taps<X> taps{x.pointer(r + i0 - half, c + j0 - half),
                       x.stride(0),
                       x.stride(1),
                       &weight_(i0, j0, 0),
                       i1 - i0,
                       j1 - j0};
    X* own = x.pointer(r, c);
    Y* to = y.pointer(r, c);
    Index d = d0;
    for (; d + kWidth<T, A> <= d1; d += kWidth<T, A>)
      lanes<P, Block, true>(taps, own, to, y.stride(1), d, kWidth<T, A>);
    if (d < d1) lanes<P, Block, false>(taps, own, to, y.stride(1), d, d1 - d);
  }

  /// The taps of an output that fall on the map, and those of its neighbours a column further each.
  template <class X>
  struct Taps {
    X* x;
    Index row_step, column_step;
    const T* weight;
    Index rows, columns;
  };

  /// `count` channels from d on, a whole vector of them or less.
  template <Plus P, Index Block, bool Whole, class X, class Y>
  void lanes(const Taps<X>& taps, X* own, Y* to, Index step, Index d, Index count) const noexcept {
    using V = Vec<T, A>;
    const auto read = [&](const auto* at) __attribute__((always_inline)) {
      if constexpr (Whole)
        return load_as<T, A>(at);
      else
        return load_as_partial<T, A>(at, count);
    };
    V sums[Block];
    for (V& sum : sums) sum = read(bias_.data() + d);
    for (Index i = 0; i < taps.rows; ++i) {
      X* from = taps.x + i * taps.row_step + d;
      const T* weight = taps.weight + i * size_ * channels_ + d;
      for (Index j = 0; j < taps.columns; ++j, from += taps.column_step, weight += channels_) {
        const V w = read(weight);
#pragma GCC unroll 4
        for (Index p = 0; p < Block; ++p)
          sums[p] = mul_add(w, read(from + p * taps.column_step), sums[p]);
      }
    }
#pragma GCC unroll 4
    for (Index p = 0; p < Block; ++p) {
      Y* at = to + p * step + d;
      if constexpr (P == Plus::output) sums[p] += read(at);
      if constexpr (P == Plus::input) sums[p] += read(own + p * taps.column_step + d);
      if constexpr (Whole)
        store_as<A>(at, sums[p]);
      else
        store_as_partial<A>(at, sums[p], count);
    }
  }

  Index channels_, size_;
  Tensor<T, 3> weight_;  // [k, k, C]
  Tensor<T, 1> bias_;
};

/// The convolution of H D channels whose weights [D, k, k] and bias [D], or none, are shared by H
/// heads.
template <class T, class A = DefaultArch>
DepthwiseConv<T, A> shared_by_heads(View<const T, 3> weight, View<const T, 1> bias, Index heads) {
  const Index channels = weight.extent(0);
  Tensor<T, 3> weights({heads * channels, weight.extent(1), weight.extent(2)});
  Tensor<T, 1> biases({heads * channels});
  for (Index c = 0; c < heads * channels; ++c) {
    for (Index i = 0; i < weight.extent(1); ++i)
      for (Index j = 0; j < weight.extent(2); ++j) weights(c, i, j) = weight(c % channels, i, j);
    if (bias.data() != nullptr) biases(c) = bias(c % channels);
  }
  return DepthwiseConv<T, A>(weights.view(), biases.view());
}

}  // namespace weft
