#pragma once

#include <weft/core/tensor.hpp>
#include <weft/quant/rounding.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

/// Integers for numbers: affine and symmetric quantization.
///
///   code = clamp(rint(x / scale) + zero, low, high)          x ~ scale (code - zero)
///
///   symmetric   scale = max |x| / high, zero = 0
///   affine      lo = min(min x, 0), hi = max(max x, 0): 0 has a code of its own
///               scale = (hi - lo) / (high - low), zero = clamp(low + rint(-lo / scale), low, high)
///
/// rint takes ties to even and comes before zero is added; the quotient is one IEEE division. A
/// scale of 0 (all x are 0) becomes 1, and all codes are zero.
///
/// `quantize` gives every block of a matrix its own scale and zero: the whole of it, a row (a token
/// of activations, an output of a weight [out, in]), a column, or a group of consecutive columns
/// of a row; blocks at the edges may be smaller. Costs two passes over x.
///
/// Where x is not clipped, |x - decode(encode(x))| <= scale / 2, and quantizing what was decoded
/// gives the same codes. Numbers that are not finite are refused: no range holds them.
///
/// Paper: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference",
/// arXiv 1806.08342; Nagel et al., "A White Paper on Neural Network Quantization", arXiv
/// 2106.08295.
namespace weft::quant {

/// The codes of an integer format: low, ..., high.
struct CodeRange {
  int low, high;

  friend bool operator==(const CodeRange&, const CodeRange&) = default;
};

namespace detail {

constexpr void check_bits(int bits, int least) {
  require(bits >= least && bits <= 16, "an integer format of ", bits, " bits; wanted ", least,
          " to 16");
}

}  // namespace detail

/// -(2^(b-1) - 1), ..., 2^(b-1) - 1: narrow, so that -x has the code opposite to that of x and
/// products of 8 bits are at most 127^2.
constexpr CodeRange signed_codes(int bits) {
  detail::check_bits(bits, 2);
  return {-((1 << (bits - 1)) - 1), (1 << (bits - 1)) - 1};
}

/// -2^(b-1), ..., 2^(b-1) - 1.
constexpr CodeRange full_signed_codes(int bits) {
  detail::check_bits(bits, 2);
  return {-(1 << (bits - 1)), (1 << (bits - 1)) - 1};
}

/// 0, ..., 2^b - 1.
constexpr CodeRange unsigned_codes(int bits) {
  detail::check_bits(bits, 1);
  return {0, (1 << bits) - 1};
}

/// The numbers scale (code - zero). T is float or double.
template <class T>
struct AffineGrid {
  T scale = 1;
  int zero = 0;
  CodeRange codes;

  /// The code of the nearest of them. x must be finite.
  int encode(T x) const noexcept {
    // Clamped as a real number: what is far out need not be an int.
    const T code = round_half_even(x / scale) + static_cast<T>(zero);
    return static_cast<int>(
        std::clamp(code, static_cast<T>(codes.low), static_cast<T>(codes.high)));
  }
  T decode(int code) const noexcept { return scale * static_cast<T>(code - zero); }
  T round_trip(T x) const noexcept { return decode(encode(x)); }
};

/// The grid from -absmax to absmax.
template <class T>
AffineGrid<T> symmetric_grid(T absmax, CodeRange codes) {
  require(std::isfinite(absmax) && absmax >= 0, "a symmetric grid up to ", absmax,
          "; wanted a finite number, not negative");
  const T scale = absmax / static_cast<T>(codes.high);
  return {scale == 0 ? T(1) : scale, 0, codes};
}

/// The grid from lo to hi, widened to hold 0.
template <class T>
AffineGrid<T> affine_grid(T lo, T hi, CodeRange codes) {
  require(std::isfinite(lo) && std::isfinite(hi) && lo <= hi, "an affine grid from ", lo, " to ",
          hi, "; wanted finite numbers in this order");
  lo = std::min(lo, T(0));
  hi = std::max(hi, T(0));
  const T scale = (hi - lo) / static_cast<T>(codes.high - codes.low);
  if (scale == 0) return {T(1), codes.low, codes};
  const T zero = static_cast<T>(codes.low) + round_half_even(-lo / scale);
  return {scale,
          static_cast<int>(std::clamp(zero, static_cast<T>(codes.low), static_cast<T>(codes.high))),
          codes};
}

/// The part of a matrix that shares a grid, in rows and columns; 0 stands for all of them.
struct Block {
  Index rows = 0, cols = 0;

  static constexpr Block tensor() noexcept { return {0, 0}; }
  static constexpr Block row() noexcept { return {1, 0}; }
  static constexpr Block column() noexcept { return {0, 1}; }
  /// `size` consecutive columns of a row.
  static constexpr Block group(Index size) noexcept { return {1, size}; }

  friend bool operator==(const Block&, const Block&) = default;
};

/// How a matrix is quantized.
struct Scheme {
  CodeRange codes = signed_codes(8);
  bool symmetric = true;
  Block block = Block::row();
};

/// A matrix of codes. scale and zero have an entry per block; zero is empty if all are 0.
template <class Code = std::int8_t>
struct QuantizedMatrix {
  Tensor<Code, 2> codes;
  Tensor<float, 2> scale;
  Tensor<std::int32_t, 2> zero;
  Block block;  ///< with the extents of the matrix in place of 0
  CodeRange range;

  AffineGrid<float> grid(Index row, Index col) const noexcept {
    const Index r = row / block.rows, c = col / block.cols;
    return {scale(r, c), zero.size() == 0 ? 0 : zero(r, c), range};
  }
  float operator()(Index row, Index col) const noexcept {
    return grid(row, col).decode(codes(row, col));
  }
};

namespace detail {

template <class Code>
constexpr bool holds(CodeRange range) noexcept {
  return range.low >= std::numeric_limits<Code>::min() &&
         range.high <= std::numeric_limits<Code>::max();
}

/// The grid of one block of numbers.
inline AffineGrid<float> fit(const View<const float, 2>& x, const Scheme& scheme) {
  float lo = 0, hi = 0;
  for (Index r = 0; r < x.extent(0); ++r)
    for (Index c = 0; c < x.extent(1); ++c) {
      require(std::isfinite(x(r, c)), "quantize: ", x(r, c), " has no place in any range");
      lo = std::min(lo, x(r, c));
      hi = std::max(hi, x(r, c));
    }
  return scheme.symmetric ? symmetric_grid(std::max(-lo, hi), scheme.codes)
                          : affine_grid(lo, hi, scheme.codes);
}

}  // namespace detail

/// Codes, scales and zeros of x [R, C], any strides. Throws where Code cannot hold the codes, on a
/// negative block, and on numbers that are not finite.
template <class Code = std::int8_t>
QuantizedMatrix<Code> quantize(View<const float, 2> x, const Scheme& scheme) {
  const Index rows = x.extent(0), cols = x.extent(1);
  require(detail::holds<Code>(scheme.codes), "quantize: codes ", scheme.codes.low, " to ",
          scheme.codes.high, " do not fit in ", 8 * sizeof(Code), " bits");
  require(scheme.block.rows >= 0 && scheme.block.cols >= 0, "quantize: a block of ",
          scheme.block.rows, " x ", scheme.block.cols);
  const auto extent = [](Index block, Index all) {
    return std::max<Index>(block ? block : all, 1);
  };
  QuantizedMatrix<Code> out{
      .codes = Tensor<Code, 2>({rows, cols}),
      .scale = {},
      .zero = {},
      .block = {extent(scheme.block.rows, rows), extent(scheme.block.cols, cols)},
      .range = scheme.codes};
  const Block block = out.block;
  const Index down = (rows + block.rows - 1) / block.rows;
  const Index across = (cols + block.cols - 1) / block.cols;
  out.scale = Tensor<float, 2>({down, across});
  if (!scheme.symmetric) out.zero = Tensor<std::int32_t, 2>({down, across});
  for (Index i = 0; i < down; ++i)
    for (Index j = 0; j < across; ++j) {
      const Index r0 = i * block.rows, c0 = j * block.cols;
      const Index r1 = std::min(r0 + block.rows, rows), c1 = std::min(c0 + block.cols, cols);
      const auto grid = detail::fit(x.slice(0, r0, r1 - r0).slice(1, c0, c1 - c0), scheme);
      out.scale(i, j) = grid.scale;
      if (!scheme.symmetric) out.zero(i, j) = grid.zero;
      for (Index r = r0; r < r1; ++r)
        for (Index c = c0; c < c1; ++c) out.codes(r, c) = static_cast<Code>(grid.encode(x(r, c)));
    }
  return out;
}

/// The numbers that the codes stand for. Throws where the shapes differ.
template <class Code>
void dequantize(const QuantizedMatrix<Code>& q, View<float, 2> out) {
  require(out.extent(0) == q.codes.extent(0) && out.extent(1) == q.codes.extent(1),
          "dequantize: out is ", out, ", the codes are ", q.codes.view());
  for (Index r = 0; r < out.extent(0); ++r)
    for (Index c = 0; c < out.extent(1); ++c) out(r, c) = q(r, c);
}

/// Signal to noise in dB: 10 log10(sum x^2 / sum (x - y)^2), infinite where they are equal. About
/// 6.02 per bit for numbers spread evenly over the range.
template <class T, class S>
double sqnr_db(View<const T, 2> x, View<const S, 2> y) {
  require(x.shape() == y.shape(), "sqnr_db: x is ", x, ", y is ", y);
  double signal = 0, noise = 0;
  for (Index r = 0; r < x.extent(0); ++r)
    for (Index c = 0; c < x.extent(1); ++c) {
      const double v = static_cast<double>(x(r, c)), d = v - static_cast<double>(y(r, c));
      signal += v * v;
      noise += d * d;
    }
  return noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
}

}  // namespace weft::quant
