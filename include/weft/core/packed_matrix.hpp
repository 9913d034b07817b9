#pragma once

#include <weft/core/gemm_bf16.hpp>
#include <weft/core/tensor.hpp>

namespace weft {

namespace detail {

/// The kernel that panels of T are packed for.
template <class T, class A>
using PanelKernel = std::conditional_t<std::is_same_v<T, bf16>, PairKernel<A>, FmaKernel<T, A>>;

}  // namespace detail

/// A constant right operand B[depth, cols] of `gemm`, packed once into the order in which the
/// kernel reads it: panels of kTileCols columns, depth-major, the last one padded with zeros.
///
///   PackedMatrix<float> w(weights.view().transpose(0, 1));        weights [out, in], y = x W^T
///   gemm(x, w, y, Bias{bias}, ctx);
///
/// T is how the elements are kept: float, double or bf16. The source may have any strides and any
/// element type that converts to T; it is not needed afterwards. Memory: depth * cols elements,
/// the columns rounded up to a panel.
///
/// Of bf16 it keeps pairs along the depth, and the type of A decides how they are multiplied:
///
///   A float or fp16   as floats, bit for bit what PackedMatrix<float> gives of the same numbers:
///                     half the memory, and for few rows, where that is the limit, half the time
///   A bf16            pairs, by AMX or AVX-512 BF16 where the target has them (these take
///                     subnormal numbers as zero): products are exact, sums float. Convert A for
///                     their speed where its rounding is welcome
template <class T, class A = DefaultArch>
class PackedMatrix {
 public:
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bf16>,
                "PackedMatrix keeps float, double or bf16");
  using Kernel = detail::PanelKernel<T, A>;
  using Element = typename Kernel::Element;
  using value_type = T;
  using arch = A;

  /// What multiplies an A of S by it.
  template <class S>
  using KernelFor = std::conditional_t<std::is_same_v<T, bf16> && !std::is_same_v<S, bf16>,
                                       detail::WidenKernel<A>, Kernel>;

  PackedMatrix() = default;

  /// Time and memory traffic of one copy of the matrix.
  template <class Source>
    requires ViewLike<const Source&, 2>
  explicit PackedMatrix(const Source& matrix) : PackedMatrix(pack_tag{}, view_of(matrix)) {}

  Index depth() const noexcept { return depth_; }
  Index cols() const noexcept { return cols_; }
  Index bytes() const noexcept { return size() * Index{sizeof(Element)}; }

  /// Panel j begins at data() + j * Kernel::depth(depth()) * Kernel::kCols.
  const Element* data() const noexcept { return panels_.get(); }

 private:
  struct pack_tag {};

  template <class S>
  PackedMatrix(pack_tag, const View<S, 2>& b)
      : depth_(b.extent(0)), cols_(b.extent(1)), panels_(detail::aligned_array<Element>(size())) {
    require(b.empty() || b.data() != nullptr, "PackedMatrix: the matrix ", shape_text(b),
            " has no data");
    const Index packed_depth = Kernel::depth(depth_);
    Kernel::pack_panels(View<const S, 2>(b), packed_depth, panels_.get(),
                        packed_depth * Kernel::kCols);
  }

  Index size() const noexcept { return round_up(cols_, Kernel::kCols) * Kernel::depth(depth_); }

  Index depth_ = 0;
  Index cols_ = 0;
  std::unique_ptr<Element[], detail::AlignedDelete> panels_;
};

}  // namespace weft
