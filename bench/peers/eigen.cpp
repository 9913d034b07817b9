/// Eigen rows: peer/eigen/gemm/..., peer/eigen/kernelized/toeplitz/... The only source that
/// includes Eigen, so that its functions exist once, with the flags of this program.
#define EIGEN_DONT_PARALLELIZE
#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 warns about its own intrinsics once they are inlined into Eigen's functions.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "support/gemm_cases.hpp"
#include "support/inputs.hpp"

#include <Eigen/Core>
#include <unsupported/Eigen/FFT>

#include <complex>
#include <vector>

namespace {

using bench::GemmCase;
using bench::Index;
using bench::Operand;
using bench::Type;
using bench::uniform;

template <class T>
using Matrix = Eigen::Map<Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

template <class T>
void add_product(const GemmCase& g) {
  g.row().by("peer/eigen").add([g] {
    return [g, a = uniform<T>({g.m, g.k}), b = uniform<T>({g.k, g.n}),
            c = uniform<T>({g.m, g.n})]() mutable {
      const Matrix<T> x(a.data(), g.m, g.k);
      if (g.b == Operand::transposed)
        Matrix<T>(c.data(), g.m, g.n).noalias() = x * Matrix<T>(b.data(), g.n, g.k).transpose();
      else
        Matrix<T>(c.data(), g.m, g.n).noalias() = x * Matrix<T>(b.data(), g.k, g.n);
    };
  });
}

/// With the sizes of a vector known at compile time, Eigen takes its matrix-vector path.
void add_matrix_vector(const GemmCase& g) {
  using Vector = Eigen::Map<Eigen::VectorXf>;
  g.row().by("peer/eigen").add([g] {
    return [g, x = uniform<float>({g.k}), w = uniform<float>({g.n, g.k}),
            y = uniform<float>({g.n})]() mutable {
      Vector(y.data(), g.n).noalias() = Matrix<float>(w.data(), g.n, g.k) * Vector(x.data(), g.k);
    };
  });
}

/// The Toeplitz product channel by channel: what a program writes that has one-dimensional real
/// transforms. The spectrum of the matrix is computed beforehand, as in weft.
class ToeplitzByChannel {
 public:
  ToeplitzByChannel(Index rows, Index channels)
      : x_(uniform<float>({rows, channels})),
        y_(uniform<float>({rows, channels})),
        column_(static_cast<std::size_t>(2 * rows)),
        back_(column_.size()) {
    fft_.SetFlag(fft_.HalfSpectrum);
    const auto kernel = uniform<float>({2 * rows}, 2);
    std::copy_n(kernel.data(), column_.size(), column_.begin());
    fft_.fwd(kernel_, column_);
  }

  void operator()() {
    const Index rows = x_.extent(0);
    for (Index c = 0; c < x_.extent(1); ++c) {
      for (Index n = 0; n < rows; ++n) column_[static_cast<std::size_t>(n)] = x_(n, c);
      std::fill(column_.begin() + rows, column_.end(), 0.f);
      fft_.fwd(spectrum_, column_);
      for (std::size_t f = 0; f < spectrum_.size(); ++f) spectrum_[f] *= kernel_[f];
      fft_.inv(back_, spectrum_);
      for (Index n = 0; n < rows; ++n) y_(n, c) = back_[static_cast<std::size_t>(n)];
    }
  }

 private:
  weft::Tensor<float, 2> x_, y_;
  std::vector<float> column_, back_;
  std::vector<std::complex<float>> kernel_, spectrum_;
  Eigen::FFT<float> fft_;
};

const bench::Rows toeplitz_rows([] {
  for (const Index N : {1024, 16384})
    bench::Row{.name = bench::row_name("kernelized/toeplitz/multiply/f32", {{"N", N}, {"C", 64}})}
        .by("peer/eigen")
        .add([N] { return ToeplitzByChannel(N, 64); });
});

const bench::Rows rows([] {
  for (const GemmCase& g : bench::kGemmCases) {
    if (g.b == Operand::packed) continue;
    if (g.m == 1)
      add_matrix_vector(g);
    else if (g.type == Type::f32)
      add_product<float>(g);
    else if (g.type == Type::f64)
      add_product<double>(g);
  }
});

}  // namespace
