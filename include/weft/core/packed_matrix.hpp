#pragma once

#include <weft/core/pack.hpp>
#include <weft/core/tensor.hpp>

namespace weft {

/// A constant right operand B[depth, cols] of `gemm`, packed once into the order in which the
/// kernel reads it: panels of kTileCols columns, depth-major, the last one padded with zeros.
///
///   PackedMatrix<float> w(weights.view().transpose(0, 1));        weights [out, in], y = x W^T
///   gemm(x, w, y, Bias{bias}, ctx);
///
/// T is how the elements are kept: float or double. The source may have any strides and any
/// element type that converts to T; it is not needed afterwards. Memory: depth * cols elements,
/// the columns rounded up to a panel.
template <class T, class A = DefaultArch>
class PackedMatrix {
 public:
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>,
                "PackedMatrix keeps float or double");
  using value_type = T;
  using arch = A;

  PackedMatrix() = default;

  /// Time and memory traffic of one copy of the matrix.
  template <class Source>
    requires ViewLike<const Source&, 2>
  explicit PackedMatrix(const Source& matrix) : PackedMatrix(pack_tag{}, view_of(matrix)) {}

  Index depth() const noexcept { return depth_; }
  Index cols() const noexcept { return cols_; }
  Index bytes() const noexcept { return size() * Index{sizeof(T)}; }

  /// Panel j begins at data() + j * depth() * kTileCols<T, A>.
  const T* data() const noexcept { return panels_.get(); }

 private:
  struct pack_tag {};

  template <class S>
  PackedMatrix(pack_tag, const View<S, 2>& b)
      : depth_(b.extent(0)), cols_(b.extent(1)), panels_(detail::aligned_array<T>(size())) {
    require(b.empty() || b.data() != nullptr, "PackedMatrix: the matrix ", shape_text(b),
            " has no data");
    detail::pack_cols<A>(b.data(), b.stride(0), b.stride(1), depth_, cols_, panels_.get());
  }

  Index size() const noexcept { return round_up(cols_, detail::kTileCols<T, A>) * depth_; }

  Index depth_ = 0;
  Index cols_ = 0;
  std::unique_ptr<T[], detail::AlignedDelete> panels_;
};

}  // namespace weft
