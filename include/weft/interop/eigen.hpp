#pragma once

#include <weft/core/tensor.hpp>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wuninitialized"
#if defined(__clang__)
#pragma GCC diagnostic ignored "-Wdeprecated-copy"
#else
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <Eigen/Core>
#pragma GCC diagnostic pop

#include <concepts>
#include <type_traits>
#include <utility>

/// Eigen's matrices as weft's views and the other way round. No element is copied.
///
///   Eigen::MatrixXf m(3, 4);               // column-major
///   View<float, 2> v = view_of(m);         // v(i, j) is m(i, j), strides {1, 3}
///   eigen_map(v) *= 2.f;                   // changes m
///
/// weft's kernels want stride 1 in the last dimension: give them row-major matrices, or a
/// transposed view where an operand may be transposed.
///
/// Eigen's functions do not carry an instruction set in their names: in a program that is compiled
/// for several, include this header only in sources compiled for the least of them.
namespace weft {

namespace detail {

template <class E>
using EigenElement =
    std::remove_pointer_t<decltype(std::declval<std::remove_reference_t<E>&>().data())>;

/// `const` where T is.
template <class T, class Matrix>
using ConstAs = std::conditional_t<std::is_const_v<T>, const Matrix, Matrix>;

}  // namespace detail

/// An Eigen matrix, vector, array, Map, Ref or block: whatever has its elements in memory. A
/// temporary that owns them is refused.
template <class E>
concept EigenDense =
    requires(std::remove_reference_t<E>& e) {
      e.data();
      e.rowStride();
      e.colStride();
    } && (std::is_lvalue_reference_v<E> ||
          !std::derived_from<E, Eigen::PlainObjectBase<std::remove_cvref_t<E>>>);

/// A matrix as a view of rank 2.
template <EigenDense E>
  requires(!std::remove_cvref_t<E>::IsVectorAtCompileTime)
View<detail::EigenElement<E>, 2> view_of(E&& matrix) {
  return {matrix.data(), {matrix.rows(), matrix.cols()}, {matrix.rowStride(), matrix.colStride()}};
}

/// A row or column vector as a view of rank 1.
template <EigenDense E>
  requires(bool(std::remove_cvref_t<E>::IsVectorAtCompileTime))
View<detail::EigenElement<E>, 1> view_of(E&& vector) {
  const Index stride = vector.cols() == 1 ? vector.rowStride() : vector.colStride();
  return {vector.data(), {vector.size()}, {stride}};
}

/// A view of rank 2 as a row-major Eigen matrix. Throws on negative strides, which Eigen's maps do
/// not take.
template <class T>
auto eigen_map(const View<T, 2>& view) {
  using Matrix =
      Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  require(view.stride(0) >= 0 && view.stride(1) >= 0, "eigen_map: the strides are ", view.stride(0),
          " and ", view.stride(1), ", and Eigen takes no negative ones");
  return Eigen::Map<detail::ConstAs<T, Matrix>, Eigen::Unaligned, Stride>(
      view.data(), view.extent(0), view.extent(1), Stride(view.stride(0), view.stride(1)));
}

/// A view of rank 1 as an Eigen column vector. Throws on a negative stride.
template <class T>
auto eigen_map(const View<T, 1>& view) {
  using Vector = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, 1>;
  using Stride = Eigen::InnerStride<Eigen::Dynamic>;
  require(view.stride(0) >= 0, "eigen_map: the stride is ", view.stride(0),
          ", and Eigen takes no negative one");
  return Eigen::Map<detail::ConstAs<T, Vector>, Eigen::Unaligned, Stride>(
      view.data(), view.extent(0), Stride(view.stride(0)));
}

/// A view of rank 2 with stride 1 along its rows, as a type that Eigen can vectorise. Throws when
/// the rows have another stride, or do not follow each other upwards.
template <class T>
auto eigen_map_rows(const View<T, 2>& view) {
  using Matrix =
      Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Stride = Eigen::OuterStride<Eigen::Dynamic>;
  require(view.stride(1) == 1 && view.stride(0) >= 0, "eigen_map_rows: the strides are ",
          view.stride(0), " and ", view.stride(1), "; use eigen_map where they are not {n, 1}");
  return Eigen::Map<detail::ConstAs<T, Matrix>, Eigen::Unaligned, Stride>(
      view.data(), view.extent(0), view.extent(1), Stride(view.stride(0)));
}

}  // namespace weft
