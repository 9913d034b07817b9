#pragma once

#include <weft/core/fft.hpp>
#include <weft/core/gemm.hpp>

namespace weft {

/// How a Toeplitz matrix is multiplied: as it is cheaper, by products or by transforms.
enum class ToeplitzMethod { by_length, direct, fft };

/// Longest sequence that `ToeplitzMethod::by_length` multiplies directly, as measured.
inline constexpr Index kToeplitzDirect = 48;

/// Products of Toeplitz matrices with many channels:
///
///   y_i = sum_j c_{j - i} x_j            i, j < N;  c [H, 2 N - 1], c_d at column d + N - 1
///
/// A matrix per head; x and y [N, C], columns adjacent, y may be x. A causal one has c_d = 0 for
/// d > 0. Used for relative positions in kernelized attention
/// (relative_fft.hpp; Stable, Fast and Accurate, arXiv:2106.12566).
///
/// Up to N = kToeplitzDirect the product is a GEMM, the rows of the matrix being windows of c in
/// memory: time O(N^2 C). Longer ones are circular convolutions of length L, the power of two not
/// below 2 N - 1 (core/fft.hpp): time O(L log L C), error relative to the largest output rather
/// than to each. `method` forces one of them. Results do not depend on the number of threads.
///
/// Element types float and double. Throws where shapes do not fit.
template <class T, class A = DefaultArch>
class Toeplitz {
 public:
  using Convolution = CircularConvolution<T, A>;

  Toeplitz() = default;

  /// c [H, 2 N - 1] is copied. Time O(H N), or O(H L log L) where transforms are used.
  template <ViewLike<2> X>
  explicit Toeplitz(const X& diagonals, ToeplitzMethod method = ToeplitzMethod::by_length)
      : Toeplitz(CopyTag{}, view_of(diagonals), method) {}

  Index heads() const noexcept { return diagonals_.size() == 0 ? 0 : diagonals_.extent(0); }
  Index length() const noexcept { return length_; }
  bool uses_fft() const noexcept { return convolution_.length() != 0; }

  /// c_d of a head at [d + N - 1].
  const T* diagonals(Index head) const noexcept { return diagonals_.view().pointer(head); }
  /// Only where uses_fft().
  const Convolution& convolution() const noexcept { return convolution_; }

  /// y = T x for the matrix of one head.
  void multiply(Index head, View<const T, 2> x, View<T, 2> y, const Context& ctx = {}) const {
    require(head >= 0 && head < heads(), "Toeplitz: head ", head, " of ", heads());
    require(x.extent(0) == length_ && y.shape() == x.shape(), "Toeplitz: x is ", x, ", y ", y,
            ", both must be [", length_, ", C]");
    require(x.extent(1) <= 1 || (x.stride(1) == 1 && y.stride(1) == 1),
            "Toeplitz: the channels of x and y must be adjacent");
    if (uses_fft())
      ctx.parallel(ceil_div(x.extent(1), Convolution::kChannels), [&](Index task, Arena& arena) {
        convolve(head, x, y, task * Convolution::kChannels, arena);
      });
    else
      multiply_directly(head, x, y, ctx);
  }

 private:
  struct CopyTag {};

  template <class S>
  Toeplitz(CopyTag, const View<S, 2>& c, ToeplitzMethod method)
      : length_((c.extent(1) + 1) / 2), diagonals_(c.shape()) {
    require(c.extent(1) % 2 == 1, "Toeplitz: c is ", c, ", wanted [H, 2 N - 1] with N >= 1");
    for (Index h = 0; h < c.extent(0); ++h)
      for (Index d = 0; d < c.extent(1); ++d) diagonals_(h, d) = static_cast<T>(c(h, d));
    const bool is_short = method == ToeplitzMethod::by_length && length_ <= kToeplitzDirect;
    if (method != ToeplitzMethod::direct && !is_short) convolution_ = Convolution(circulants(c));
  }

  /// First columns of the circulants that hold the matrices: h[s mod L] = c_{-s}.
  template <class S>
  static Tensor<double, 2> circulants(const View<S, 2>& c) {
    const Index N = (c.extent(1) + 1) / 2;
    const auto L = static_cast<Index>(std::bit_ceil(static_cast<std::size_t>(2 * N - 1)));
    Tensor<double, 2> h({c.extent(0), std::max<Index>(L, 8)});
    for (Index k = 0; k < c.extent(0); ++k)
      for (Index s = 1 - N; s < N; ++s)
        h(k, s < 0 ? s + h.extent(1) : s) = static_cast<double>(c(k, N - 1 - s));
    return h;
  }

  /// Channels [first, first + kChannels) or what there is of them.
  void convolve(Index head, View<const T, 2> x, View<T, 2> y, Index first, Arena& arena) const {
    using V = typename Convolution::V;
    constexpr Index W = kWidth<T, A>;
    const Index count = std::min(Convolution::kChannels, x.extent(1) - first);
    const Index low = std::min(W, count), high = count - low;
    const auto load = [&](Index n) {
      const T* row = x.pointer(n) + first;
      return std::pair<V, V>(load_partial<A>(row, low), load_partial<A>(row + low, high));
    };
    const auto store = [&](Index n, const V& y0, const V& y1) {
      T* row = y.pointer(n) + first;
      store_partial<A>(row, y0, low);
      store_partial<A>(row + low, y1, high);
    };
    convolution_.run(head, length_, load, store, arena);
  }

  void multiply_directly(Index head, View<const T, 2> x, View<T, 2> y, const Context& ctx) const {
    const View<const T, 2> matrix(diagonals(head) + length_ - 1, {length_, length_}, {-1, 1});
    if (x.data() != y.data()) return gemm<A>(matrix, x, y, ctx);
    const Arena::Frame frame(ctx.arena());
    const View<T, 2> copy(ctx.arena().template take<T>(x.size()), x.shape());
    for (Index n = 0; n < length_; ++n) std::copy_n(x.pointer(n), x.extent(1), copy.pointer(n));
    gemm<A>(matrix, copy, y, ctx);
  }

  Index length_ = 0;
  Tensor<T, 2> diagonals_;
  Convolution convolution_;
};

}  // namespace weft
