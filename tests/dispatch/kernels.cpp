#include "kernels.hpp"

#include <weft/core/simd.hpp>

#include <weft_dispatch.hpp>

namespace {

template <class A = weft::DefaultArch>
double dot(std::span<const float> a, std::span<const float> b) {
  constexpr weft::Index width = weft::kWidth<float, A>;
  const auto n = static_cast<weft::Index>(a.size());
  weft::Vec<float, A> sum(0.f);
  weft::Index i = 0;
  for (; i + width <= n; i += width) {
    sum = xsimd::fma(weft::load<A>(a.data() + i), weft::load<A>(b.data() + i), sum);
  }
  sum = xsimd::fma(weft::load_partial<A>(a.data() + i, n - i),
                   weft::load_partial<A>(b.data() + i, n - i), sum);
  float lanes[width];
  weft::store<A>(lanes, sum);
  double total = 0;
  for (float lane : lanes) total += static_cast<double>(lane);
  return total;
}

}  // namespace

template <>
Report report<weft::isa::WEFT_DISPATCH_ARCH>(std::span<const float> a, std::span<const float> b) {
  return {static_cast<int>(weft::kWidth<float>), shared_width(), dot(a, b)};
}
