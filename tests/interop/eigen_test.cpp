#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/interop/eigen.hpp>

#include <type_traits>
#include <vector>

namespace {

using weft::eigen_map;
using weft::Index;
using weft::View;
using weft::view_of;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Element (i, j) is 10 i + j.
template <class M>
M numbered(Index rows, Index cols) {
  M m(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) m(i, j) = static_cast<typename M::Scalar>(10 * i + j);
  return m;
}

template <class M, class T>
void check_same_elements(const M& m, const View<T, 2>& v) {
  REQUIRE(v.extent(0) == m.rows());
  REQUIRE(v.extent(1) == m.cols());
  for (Index i = 0; i < m.rows(); ++i)
    for (Index j = 0; j < m.cols(); ++j) CHECK(&v(i, j) == &m.coeffRef(i, j));
}

template <class X>
constexpr bool kViewable = requires(X&& x) { view_of(std::forward<X>(x)); };

}  // namespace

TEST_CASE("eigen matrices are viewed in place", "[eigen]") {
  auto columns = numbered<Eigen::MatrixXf>(3, 4);
  const View<float, 2> v = view_of(columns);
  CHECK(v.strides() == std::array<Index, 2>{1, 3});
  check_same_elements(columns, v);

  auto rows = numbered<RowMajor>(3, 4);
  CHECK(view_of(rows).is_packed());
  check_same_elements(rows, view_of(rows));

  const auto& constant = columns;
  static_assert(std::is_same_v<decltype(view_of(constant)), View<const float, 2>>);
  check_same_elements(constant, view_of(constant));

  auto fixed = numbered<Eigen::Matrix<double, 2, 3>>(2, 3);
  check_same_elements(fixed, view_of(fixed));
  auto array = numbered<Eigen::ArrayXXi>(2, 3);
  check_same_elements(array, view_of(array));
}

TEST_CASE("eigen blocks, maps and references are viewed in place", "[eigen]") {
  auto m = numbered<Eigen::MatrixXf>(5, 6);
  const auto block = view_of(m.block(1, 2, 3, 2));
  CHECK(block(2, 1) == 33);
  block(2, 1) = -1;
  CHECK(m(3, 3) == -1);

  using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  Eigen::Map<Eigen::MatrixXf, 0, Stride> map(m.data(), 2, 3, Stride(10, 2));
  check_same_elements(map, view_of(map));
  Eigen::Ref<Eigen::MatrixXf> ref(m);
  check_same_elements(ref, view_of(ref));
  const Eigen::Ref<const Eigen::MatrixXf> constant(m);
  static_assert(std::is_same_v<decltype(view_of(constant)), View<const float, 2>>);
  CHECK(view_of(constant).data() == m.data());
}

TEST_CASE("eigen vectors are views of rank one", "[eigen]") {
  Eigen::VectorXf column(4);
  column << 1, 2, 3, 4;
  const View<float, 1> v = view_of(column);
  CHECK(v.extent(0) == 4);
  CHECK(v(3) == 4);
  Eigen::RowVectorXd row(3);
  row << 5, 6, 7;
  CHECK(view_of(row)(2) == 7);

  auto m = numbered<Eigen::MatrixXf>(3, 4);
  const View<float, 1> second_row = view_of(m.row(1));
  CHECK(second_row.extent(0) == 4);
  CHECK(second_row.stride(0) == 3);
  CHECK(second_row(2) == 12);
  const View<float, 1> third_column = view_of(m.col(2));
  CHECK(third_column.stride(0) == 1);
  CHECK(third_column(2) == 22);
}

TEST_CASE("matrices that are about to end are not viewed", "[eigen]") {
  static_assert(kViewable<Eigen::MatrixXf&>);
  static_assert(kViewable<const Eigen::MatrixXf&>);
  static_assert(!kViewable<Eigen::MatrixXf>);
  static_assert(!kViewable<const Eigen::VectorXf>);
  static_assert(kViewable<Eigen::Map<Eigen::MatrixXf>>);
  static_assert(!kViewable<decltype(Eigen::MatrixXf() + Eigen::MatrixXf())>);
  SUCCEED();
}

TEST_CASE("views are mapped as eigen matrices", "[eigen]") {
  weft::Tensor<float, 2> t({3, 4});
  for (Index i = 0; i < 12; ++i) t.data()[i] = static_cast<float>(i);

  CHECK(eigen_map(t.view()).row(1).sum() == 4 + 5 + 6 + 7);
  CHECK(eigen_map(t.view().transpose(0, 1)).row(1).sum() == 1 + 5 + 9);
  CHECK(eigen_map(t.view().slice(1, 1, 2))(2, 1) == 10);
  eigen_map(t.view()) *= 2.f;
  CHECK(t(2, 3) == 22);

  const weft::Tensor<float, 2>& constant = t;
  const Eigen::MatrixXf product =
      eigen_map(constant.view()) * eigen_map(constant.view()).transpose();
  CHECK(product(0, 1) == 4 * (0 * 4 + 1 * 5 + 2 * 6 + 3 * 7));

  View<const float, 2> repeated(t.data(), {2, 4}, {0, 1});
  CHECK(eigen_map(repeated)(1, 3) == t(0, 3));
}

TEST_CASE("views of rank one are mapped as eigen vectors", "[eigen]") {
  std::vector<double> data{1, 2, 3, 4, 5, 6};
  CHECK(eigen_map(view_of(data)).sum() == 21);
  const View<double, 1> odd(data.data(), {3}, {2});
  CHECK(eigen_map(odd).dot(eigen_map(odd)) == 1 + 9 + 25);
  eigen_map(odd).setZero();
  CHECK(data[4] == 0);
  CHECK(data[5] == 6);
}

TEST_CASE("rows without gaps are mapped as a type that vectorises", "[eigen]") {
  weft::Tensor<float, 2> t({3, 8});
  t(2, 5) = 3;
  const auto map = weft::eigen_map_rows(t.view().slice(1, 4, 3));
  CHECK(map(2, 1) == 3);
  CHECK(map.outerStride() == 8);
  static_assert(decltype(map)::InnerStrideAtCompileTime == 1);
  CHECK(contains(message_of([&] { weft::eigen_map_rows(t.view().transpose(0, 1)); }),
                 "the strides are 1 and 8; use eigen_map"));
}

TEST_CASE("there and back is the same view", "[eigen]") {
  weft::Tensor<float, 2> t({3, 4});
  const auto view = t.view().transpose(0, 1).slice(0, 1, 2);
  auto map = eigen_map(view);
  const auto back = view_of(map);
  CHECK(back.data() == view.data());
  CHECK(back.shape() == view.shape());
  CHECK(back.strides() == view.strides());
}

TEST_CASE("eigen maps refuse negative strides", "[eigen]") {
  float data[4] = {};
  CHECK(contains(message_of([&] { eigen_map(View<float, 1>(data + 3, {4}, {-1})); }),
                 "the stride is -1"));
  CHECK(contains(message_of([&] {
                   eigen_map(View<float, 2>(data + 2, {2, 2}, {-2, 1}));
                 }),
                 "the strides are -2 and 1"));
}
