#pragma once

#include <weft/core/scratch.hpp>
#include <weft/core/simd.hpp>
#include <weft/core/view.hpp>

#include <bit>
#include <cmath>
#include <numbers>
#include <vector>

/// Circular convolution of many channels with one real kernel, by fast Fourier transforms that run
/// across the channels: every lane of a register is a transform of its own.
///
///   y[n, c] = sum_m h[(n - m) mod L] x[m, c]        L a power of two, x[m, c] = 0 for m >= rows
///
/// The kernel is real, so two real channels go through as one complex channel x0 + i x1 and come
/// out as y0 + i y1: no spectrum of real input is ever untangled. The forward transform takes
/// natural order to reversed digits and the inverse takes them back, and the spectrum of the kernel
/// is kept in the order of the digits: nothing is permuted.
///
/// Radix 4, with one step of radix 2 where L asks for it. The recursion goes depth first and
/// multiplies by the spectrum at its leaves, so that each part is transformed, multiplied and
/// transformed back while it is in the cache: memory is swept once per two digits by which the
/// whole exceeds it. Time O(L log L) and scratch memory 2 L registers for every 2 W channels.
///
/// Roots of unity and spectra are computed in double. The error of each output is below
/// eps log2(L) |h|_2 |x|_2 of its channel: outputs much smaller than that have no right digits.
namespace weft {

namespace detail {

template <class V>
struct Complex {
  V re, im;
};

template <class V>
[[gnu::always_inline]] inline Complex<V> operator+(const Complex<V>& a, const Complex<V>& b) {
  return {a.re + b.re, a.im + b.im};
}
template <class V>
[[gnu::always_inline]] inline Complex<V> operator-(const Complex<V>& a, const Complex<V>& b) {
  return {a.re - b.re, a.im - b.im};
}
/// i a.
template <class V>
[[gnu::always_inline]] inline Complex<V> turned(const Complex<V>& a) {
  return {-a.im, a.re};
}
/// a w, or a times the conjugate of w, for a number w[0] + i w[1] that all lanes share.
template <bool Conjugate, class V, class T>
[[gnu::always_inline]] inline Complex<V> times(const Complex<V>& a, const T* w) {
  const V re(w[0]), im(Conjugate ? -w[1] : w[1]);
  return {mul_add(a.re, re, -(a.im * im)), mul_add(a.re, im, a.im * re)};
}

/// The four sums of a step of radix 4; the inverse exchanges the second and the fourth.
template <class V>
[[gnu::always_inline]] inline void sum_four(Complex<V>& a, Complex<V>& b, Complex<V>& c,
                                            Complex<V>& d, bool inverse) {
  const Complex<V> even = a + c, odd = b + d, rest = a - c, side = turned(b - d);
  a = even + odd;
  c = even - odd;
  b = inverse ? rest + side : rest - side;
  d = inverse ? rest - side : rest + side;
}

/// exp(-2 pi i k / n), the angle reduced to a quarter of the circle; n a multiple of 4.
inline std::array<double, 2> root_of_unity(Index k, Index n) noexcept {
  const Index quarter = n / 4, turn = k / quarter % 4;
  const double angle =
      2 * std::numbers::pi * static_cast<double>(k % quarter) / static_cast<double>(n);
  const double c = std::cos(angle), s = std::sin(angle);
  switch (turn) {
    case 0: return {c, -s};
    case 1: return {-s, -c};
    case 2: return {-c, s};
    default: return {s, c};
  }
}

/// The roots of all steps of radix 4 of a transform of length L, L / 4, ...: for each position of a
/// quarter those of its second, third and fourth output.
template <class T>
std::vector<T> fft_roots(Index length) {
  std::vector<T> roots;
  roots.reserve(static_cast<std::size_t>(2 * length));
  for (Index n = length; n > 4; n /= 4)
    for (Index j = 0; j < n / 4; ++j)
      for (Index k = 1; k < 4; ++k)
        for (const double part : root_of_unity(k * j, n)) roots.push_back(static_cast<T>(part));
  return roots;
}

/// Transforms of kWidth<T, A> channels at a time, in place: complex number j stands at
/// x + j * kStep, real parts of all lanes and then imaginary parts.
template <class T, class A>
struct LaneFft {
  using V = Vec<T, A>;
  using C = Complex<V>;
  static constexpr Index kStep = 2 * kWidth<T, A>;

  [[gnu::always_inline]] static C get(const T* x) noexcept {
    return {V::load_aligned(x), V::load_aligned(x + kStep / 2)};
  }
  [[gnu::always_inline]] static void put(T* x, const C& c) noexcept {
    c.re.store_aligned(x);
    c.im.store_aligned(x + kStep / 2);
  }

  /// One forward step over n numbers: quarter k then holds the input of outputs k, k + 4, ...
  static void split(Index n, T* x, const T* root) noexcept {
    const Index quarter = n / 4 * kStep;
    for (T* const end = x + quarter; x != end; x += kStep, root += 6) {
      C a = get(x), b = get(x + quarter), c = get(x + 2 * quarter), d = get(x + 3 * quarter);
      sum_four(a, b, c, d, false);
      put(x, a);
      put(x + quarter, times<false>(b, root));
      put(x + 2 * quarter, times<false>(c, root + 2));
      put(x + 3 * quarter, times<false>(d, root + 4));
    }
  }

  /// Takes `split` back, but for a factor of 4.
  static void join(Index n, T* x, const T* root) noexcept {
    const Index quarter = n / 4 * kStep;
    for (T* const end = x + quarter; x != end; x += kStep, root += 6) {
      C a = get(x), b = times<true>(get(x + quarter), root);
      C c = times<true>(get(x + 2 * quarter), root + 2);
      C d = times<true>(get(x + 3 * quarter), root + 4);
      sum_four(a, b, c, d, true);
      put(x, a);
      put(x + quarter, b);
      put(x + 2 * quarter, c);
      put(x + 3 * quarter, d);
    }
  }

  /// Two or four numbers: all of a transform, a product with the spectrum and the inverse.
  static void multiply_leaf(Index n, T* x, const T* spectrum) noexcept {
    if (n == 2) {
      const C a = get(x), b = get(x + kStep);
      const C sum = times<false>(a + b, spectrum), rest = times<false>(a - b, spectrum + 2);
      put(x, sum + rest);
      put(x + kStep, sum - rest);
      return;
    }
    C a = get(x), b = get(x + kStep), c = get(x + 2 * kStep), d = get(x + 3 * kStep);
    sum_four(a, b, c, d, false);
    a = times<false>(a, spectrum);
    b = times<false>(b, spectrum + 2);
    c = times<false>(c, spectrum + 4);
    d = times<false>(d, spectrum + 6);
    sum_four(a, b, c, d, true);
    put(x, a);
    put(x + kStep, b);
    put(x + 2 * kStep, c);
    put(x + 3 * kStep, d);
  }

  /// Transforms n >= 2 numbers, multiplies by a spectrum and transforms back, times n.
  static void multiply(Index n, T* x, const T* root, const T* spectrum) noexcept {
    if (n <= 4) return multiply_leaf(n, x, spectrum);
    const Index quarter = n / 4;
    split(n, x, root);
    for (Index k = 0; k < 4; ++k)
      multiply(quarter, x + k * quarter * kStep, root + 6 * quarter, spectrum + 2 * k * quarter);
    join(n, x, root);
  }

  /// Transforms n >= 2 numbers, to reversed digits.
  static void transform(Index n, T* x, const T* root) noexcept {
    if (n == 2) {
      const C a = get(x), b = get(x + kStep);
      put(x, a + b);
      put(x + kStep, a - b);
    } else if (n == 4) {
      C a = get(x), b = get(x + kStep), c = get(x + 2 * kStep), d = get(x + 3 * kStep);
      sum_four(a, b, c, d, false);
      put(x, a);
      put(x + kStep, b);
      put(x + 2 * kStep, c);
      put(x + 3 * kStep, d);
    } else {
      const Index quarter = n / 4;
      split(n, x, root);
      for (Index k = 0; k < 4; ++k) transform(quarter, x + k * quarter * kStep, root + 6 * quarter);
    }
  }
};

}  // namespace detail

/// Circular convolution of length L with each of several real kernels; see the top of the file.
///
/// Making one costs a transform in double for every few kernels. Memory 2 L (1 + kernels) numbers.
template <class T, class A = DefaultArch>
class CircularConvolution {
  using Fft = detail::LaneFft<T, A>;

 public:
  using V = Vec<T, A>;

  /// Channels of one run: the lanes of two registers.
  static constexpr Index kChannels = Fft::kStep;

  CircularConvolution() = default;

  /// `kernels` [count, L]. Throws unless L is a power of two, 8 or more.
  explicit CircularConvolution(View<const double, 2> kernels)
      : length_(kernels.extent(1)), count_(kernels.extent(0)) {
    require(length_ >= 8 && std::has_single_bit(static_cast<std::size_t>(length_)),
            "CircularConvolution: the kernels have length ", length_,
            ", wanted a power of two, 8 or more");
    roots_ = detail::fft_roots<T>(length_);
    spectra_.resize(static_cast<std::size_t>(2 * length_ * count_));
    transform_kernels(kernels);
  }

  Index length() const noexcept { return length_; }
  Index kernels() const noexcept { return count_; }

  /// Convolves kChannels channels with one kernel. `load(n)` gives row n < rows as two registers,
  /// {V, V}; `store(n, y0, y1)` takes row n < rows. rows <= L / 2; all loads come before all
  /// stores.
  template <class Load, class Store>
  void run(Index kernel, Index rows, Load load, Store store, Arena& arena) const {
    const Arena::Frame frame(arena);
    const Index quarter = length_ / 4;
    T* x = arena.take<T>(length_ * Fft::kStep);
    const T* spectrum = spectra_.data() + 2 * length_ * kernel;
    split_rows(rows, load, x);
    for (Index k = 0; k < 4; ++k)
      Fft::multiply(quarter, x + k * quarter * Fft::kStep, roots_.data() + 6 * quarter,
                    spectrum + 2 * k * quarter);
    join_rows(rows, store, x);
  }

 private:
  using C = typename Fft::C;

  /// The first step, straight from the caller's rows: the upper half of the input is zero.
  template <class Load>
  void split_rows(Index rows, Load load, T* x) const {
    const Index quarter = length_ / 4;
    const T* root = roots_.data();
    const auto row = [&](Index n) {
      if (n >= rows) return C{V(T(0)), V(T(0))};
      const auto [re, im] = load(n);
      return C{re, im};
    };
    for (Index j = 0; j < quarter; ++j, root += 6, x += Fft::kStep) {
      const C a = row(j), b = row(j + quarter), side = detail::turned(b);
      Fft::put(x, a + b);
      Fft::put(x + quarter * Fft::kStep, detail::times<false>(a - side, root));
      Fft::put(x + 2 * quarter * Fft::kStep, detail::times<false>(a - b, root + 2));
      Fft::put(x + 3 * quarter * Fft::kStep, detail::times<false>(a + side, root + 4));
    }
  }

  /// The last step, straight to the caller's rows: the upper half of the output is not wanted.
  template <class Store>
  void join_rows(Index rows, Store store, const T* x) const {
    const Index quarter = length_ / 4, step = quarter * Fft::kStep;
    const T* root = roots_.data();
    for (Index j = 0; j < std::min(rows, quarter); ++j, root += 6, x += Fft::kStep) {
      const C a = Fft::get(x), b = detail::times<true>(Fft::get(x + step), root);
      const C c = detail::times<true>(Fft::get(x + 2 * step), root + 2);
      const C d = detail::times<true>(Fft::get(x + 3 * step), root + 4);
      const C near = (a + c) + (b + d);
      store(j, near.re, near.im);
      if (j + quarter >= rows) continue;
      const C far = (a - c) + detail::turned(b - d);
      store(j + quarter, far.re, far.im);
    }
  }

  /// Spectra of all kernels in double, a kernel per lane, times 1 / L.
  void transform_kernels(View<const double, 2> kernels) {
    using Wide = detail::LaneFft<double, A>;
    constexpr Index W = kWidth<double, A>;
    const std::vector<double> roots = detail::fft_roots<double>(length_);
    const auto memory = detail::aligned_array<double>(length_ * Wide::kStep);
    double* x = memory.get();
    for (Index first = 0; first < count_; first += W) {
      const Index lanes = std::min(W, count_ - first);
      std::fill_n(x, length_ * Wide::kStep, 0.0);
      for (Index l = 0; l < lanes; ++l)
        for (Index n = 0; n < length_; ++n)
          x[n * Wide::kStep + l] = kernels(first + l, n) / static_cast<double>(length_);
      Wide::transform(length_, x, roots.data());
      for (Index l = 0; l < lanes; ++l) {
        T* to = spectra_.data() + 2 * length_ * (first + l);
        for (Index n = 0; n < length_; ++n, to += 2) {
          to[0] = static_cast<T>(x[n * Wide::kStep + l]);
          to[1] = static_cast<T>(x[n * Wide::kStep + W + l]);
        }
      }
    }
  }

  Index length_ = 0;
  Index count_ = 0;
  std::vector<T> roots_;
  std::vector<T> spectra_;  ///< [count, L] complex numbers in the order of reversed digits
};

}  // namespace weft
