#pragma once

#include <weft/core/gemm.hpp>
#include <weft/core/math.hpp>

#include <vector>

/// Memories that learn at test time: functions of a key with weights, and the gradient of their
/// squared error over some pairs of keys and values,
///
///   loss = sum_i g_i |Mem(x_i) - v_i|^2
///
/// x [n, F], v [n, E], g [n]. All are compiled for fp32 and fp64; products go through gemm.
namespace weft {

/// Shapes of the weights of a memory, [rows, columns] each.
using WeightShapes = std::vector<std::array<Index, 2>>;

/// Mem(x) = M x, M [E, F].
struct LinearMemory {
  WeightShapes shapes(Index features, Index value_dim) const { return {{value_dim, features}}; }
  template <class A, class T>
  void read(const std::vector<View<T, 2>>& weights, const View<const T, 2>& x, View<T, 2> y,
            const Context& ctx) const {
    gemm<A>(x, View<const T, 2>(weights[0]).transpose(0, 1), y, ctx);
  }
  template <class A, class T>
  void gradient(const std::vector<View<T, 2>>& weights, const View<const T, 2>& x,
                const View<const T, 2>& v, const T* g, const std::vector<View<T, 2>>& out,
                const Context& ctx) const;
};

/// h and its slope, for DeepMemory.
struct GeluSlope {
  template <class V>
  static V value(const V& h) noexcept {
    return math::gelu_erf(h);
  }
  /// Phi(h) + h pdf(h)
  template <class V>
  static V slope(const V& h) noexcept {
    using T = typename V::value_type;
    const V normal = V(T(0.5)) * (V(T(1)) + math::erf(h * V(T(0.70710678118654752440))));
    return mul_add(h * V(T(0.39894228040143267794)), math::exp(h * h * V(T(-0.5))), normal);
  }
};
struct SiluSlope {
  template <class V>
  static V value(const V& h) noexcept {
    return math::silu(h);
  }
  /// s + h s (1 - s), s = sigmoid(h)
  template <class V>
  static V slope(const V& h) noexcept {
    const V s = math::sigmoid(h);
    return mul_add(h * s, V(1) - s, s);
  }
};

/// Mem(x) = [x +] W1 f(W2 x), W1 [E, hidden], W2 [hidden, F]. The residual needs E = F.
template <class F = GeluSlope>
struct DeepMemory {
  Index hidden = 0;
  bool residual = true;

  WeightShapes shapes(Index features, Index value_dim) const {
    require(hidden >= 1, "DeepMemory: hidden must be positive, got ", hidden);
    require(!residual || features == value_dim, "DeepMemory: the residual needs ", value_dim,
            " features of a key, there are ", features);
    return {{value_dim, hidden}, {hidden, features}};
  }
  template <class A, class T>
  void read(const std::vector<View<T, 2>>& weights, const View<const T, 2>& x, View<T, 2> y,
            const Context& ctx) const;
  template <class A, class T>
  void gradient(const std::vector<View<T, 2>>& weights, const View<const T, 2>& x,
                const View<const T, 2>& v, const T* g, const std::vector<View<T, 2>>& out,
                const Context& ctx) const;
};

namespace detail {

/// to[i] = f(to[i], ...) for n numbers side by side.
template <class A, class T, class F, class... From>
void map_numbers(Index n, T* to, F f, const From*... from) noexcept {
  for (Index i = 0; i < n; i += kWidth<T, A>) {
    const Index lanes = std::min(kWidth<T, A>, n - i);
    store_partial<A>(to + i, f(load_partial<A>(to + i, lanes), load_partial<A>(from + i, lanes)...),
                     lanes);
  }
}

/// y <- 2 g_i (y_i - v_i) by rows.
template <class A, class T>
void errors_of(View<T, 2> y, const View<const T, 2>& v, const T* g) noexcept {
  for (Index i = 0; i < y.extent(0); ++i)
    map_numbers<A>(
        y.extent(1), y.pointer(i),
        [f = Vec<T, A>(2 * g[i])](const auto& a, const auto& b) { return f * (a - b); },
        v.pointer(i));
}

template <class T>
View<T, 2> scratch_matrix(const Context& ctx, Index rows, Index columns) {
  return {ctx.arena().take<T>(rows * columns), {rows, columns}};
}

}  // namespace detail

template <class A, class T>
void LinearMemory::gradient(const std::vector<View<T, 2>>& weights, const View<const T, 2>& x,
                            const View<const T, 2>& v, const T* g,
                            const std::vector<View<T, 2>>& out, const Context& ctx) const {
  const Arena::Frame frame(ctx.arena());
  const View<T, 2> e = detail::scratch_matrix<T>(ctx, x.extent(0), v.extent(1));
  read<A>(weights, x, e, ctx);
  detail::errors_of<A>(e, v, g);
  gemm<A>(View<const T, 2>(e).transpose(0, 1), x, out[0], ctx);
}

template <class F>
template <class A, class T>
void DeepMemory<F>::read(const std::vector<View<T, 2>>& weights, const View<const T, 2>& x,
                         View<T, 2> y, const Context& ctx) const {
  const Arena::Frame frame(ctx.arena());
  const View<T, 2> s = detail::scratch_matrix<T>(ctx, x.extent(0), hidden);
  gemm<A>(x, View<const T, 2>(weights[1]).transpose(0, 1), s, ctx);
  detail::map_numbers<A>(s.size(), s.data(), [](const auto& h) { return F::value(h); });
  gemm<A>(s, View<const T, 2>(weights[0]).transpose(0, 1), y, ctx);
  for (Index i = 0; residual && i < y.extent(0); ++i)
    detail::map_numbers<A>(
        y.extent(1), y.pointer(i), [](const auto& a, const auto& b) { return a + b; },
        x.pointer(i));
}

template <class F>
template <class A, class T>
void DeepMemory<F>::gradient(const std::vector<View<T, 2>>& weights, const View<const T, 2>& x,
                             const View<const T, 2>& v, const T* g,
                             const std::vector<View<T, 2>>& out, const Context& ctx) const {
  const Arena::Frame frame(ctx.arena());
  const Index n = x.extent(0);
  const View<T, 2> h = detail::scratch_matrix<T>(ctx, n, hidden);
  const View<T, 2> s = detail::scratch_matrix<T>(ctx, n, hidden);
  const View<T, 2> e = detail::scratch_matrix<T>(ctx, n, v.extent(1));
  gemm<A>(x, View<const T, 2>(weights[1]).transpose(0, 1), h, ctx);
  detail::map_numbers<A>(
      h.size(), s.data(), [](const auto&, const auto& a) { return F::value(a); }, h.data());
  gemm<A>(s, View<const T, 2>(weights[0]).transpose(0, 1), e, ctx);
  for (Index i = 0; residual && i < n; ++i)
    detail::map_numbers<A>(
        e.extent(1), e.pointer(i), [](const auto& a, const auto& b) { return a + b; },
        x.pointer(i));
  detail::errors_of<A>(e, v, g);
  gemm<A>(View<const T, 2>(e).transpose(0, 1), s, out[0], ctx);  // e s^T
  gemm<A>(e, weights[0], s, ctx);                                // back through W1
  detail::map_numbers<A>(
      s.size(), s.data(), [](const auto& a, const auto& b) { return a * F::slope(b); }, h.data());
  gemm<A>(View<const T, 2>(s).transpose(0, 1), x, out[1], ctx);
}

}  // namespace weft
