#pragma once

#include <weft/attention/softmax/mixer.hpp>
#include <weft/attention/softmax/top_k.hpp>

namespace weft {

/// Hard categorical attention (Learning Transformer Programs, arXiv:2306.01128). A token is a row
/// of categorical variables; a head compares one of them with what its predicate asks for, and
/// reads another.
///
///   wanted     = predicate[h, tokens[b, i, query_var[h]]]
///   candidates = visible j with tokens[b, j, key_var[h]] = wanted
///   j*         = the candidate of highest priority, of equal ones the lowest;
///                0 when there is none, visible or not
///   out[b, i, h] = tokens[b, j*, value_var[h]],   attended[b, h, i] = j*
///
/// Priorities by r = j - i, with a maximum context T: 0 for every key when `context` is 0; else
///   r > 0:  -(r - 1) / (T - 2)       r < 0:  -(-r - 1) / (T - 1)       r = 0:  -2
/// so that the nearest wins, at equal distance r = 1 the one before, and the token itself last.
///
/// It runs as attention of one-hot rows with TopK{1}: q_i marks the wanted value, k_j the one that
/// token j has, and a score turns matches into priorities. In fp64, where priorities never tie by
/// rounding. Time O(B H N^2 V) for V values, memory O(B H N V). Verb: forward. Throws weft::error
/// when shapes do not fit, or a variable or a value is out of range.
template <class M = NoMask>
struct CategoricalAttention {
  View<const std::int32_t, 1> query_var;  ///< [H], which variable of a token
  View<const std::int32_t, 1> key_var;    ///< [H]
  View<const std::int32_t, 1> value_var;  ///< [H]
  View<const std::int32_t, 2> predicate;  ///< [H, V] values wanted, in [0, V)
  Index context = 0;                      ///< T of the relative positions; 0: no positions
  M mask{};
};

namespace detail {

/// Turns matches, 1 or 0, into what the maximum is taken of: 4 + priority for candidates, 1 for key
/// 0 otherwise, 0 for all others.
template <class M>
struct CategoricalChoice {
  const M& mask;
  Index context;

  template <class V>
  V operator()(V match, const Row& row, Index j0) const noexcept {
    using T = typename V::value_type;
    const V positions = key_positions(match, j0);
    const auto candidate =
        match > V(T(0.5)) && mask_lanes<T, Arch<typename V::arch_type>>(mask, row, j0);
    const V otherwise = xsimd::select(positions == V(T(0)), V(T(1)), V(T(0)));
    const V chosen = V(T(4)) + priority(positions - V(static_cast<T>(row.query)));
    return xsimd::select(candidate, chosen, otherwise);
  }

 private:
  template <class V>
  V priority(const V& r) const noexcept {
    using T = typename V::value_type;
    if (context == 0) return V(T(0));
    const auto steps = [&](Index n) { return V(T(-1) / static_cast<T>(std::max<Index>(n, 1))); };
    const V away = xsimd::abs(r) - V(T(1));
    const V graded = away * xsimd::select(r > V(T(0)), steps(context - 2), steps(context - 1));
    return xsimd::select(r == V(T(0)), V(T(-2)), graded);
  }
};

inline void require_categories(const char* name, const View<const std::int32_t, 1>& values,
                               Index limit) {
  for (Index i = 0; i < values.extent(0); ++i)
    require(values(i) >= 0 && values(i) < limit, "CategoricalAttention: ", name, " holds ",
            values(i), ", must be in [0, ", limit, ")");
}

template <class M>
void check_categorical(const CategoricalAttention<M>& mixer,
                       const View<const std::int32_t, 3>& tokens, const View<std::int32_t, 3>& out,
                       const View<std::int32_t, 3>& attended) {
  const Index B = tokens.extent(0), N = tokens.extent(1);
  const Index heads = mixer.predicate.extent(0), values = mixer.predicate.extent(1);
  for (const auto& [name, of] :
       {std::pair{"query_var", &mixer.query_var}, std::pair{"key_var", &mixer.key_var},
        std::pair{"value_var", &mixer.value_var}}) {
    require(of->extent(0) == heads, "CategoricalAttention: ", name, " has ", of->extent(0),
            " heads, predicate ", heads);
    require_categories(name, *of, tokens.extent(2));
  }
  for (Index h = 0; h < heads; ++h)
    require_categories("predicate", mixer.predicate.select(0, h), values);
  for (Index b = 0; b < B; ++b)
    for (Index i = 0; i < N; ++i)
      require_categories("tokens", tokens.select(0, b).select(0, i), values);
  require(mixer.context == 0 || mixer.context >= N, "CategoricalAttention: context ", mixer.context,
          " is shorter than the ", N, " tokens");
  require(out.shape() == (std::array<Index, 3>{B, N, heads}), "CategoricalAttention: out ", out,
          " must be [B, N, H] for tokens ", tokens);
  require(attended.shape() == (std::array<Index, 3>{B, heads, N}),
          "CategoricalAttention: attended ", attended, " must be [B, H, N] for tokens ", tokens);
}

}  // namespace detail

/// tokens [B, N, variables], out [B, N, H], attended [B, H, N].
template <class A = DefaultArch, class M, ViewLike<3> X, ViewLike<3> O, ViewLike<3> I>
void forward(const CategoricalAttention<M>& mixer, const X& tokens, O&& out, I&& attended,
             const Context& ctx = Context()) {
  const View<const std::int32_t, 3> x = view_of(tokens);
  const View<std::int32_t, 3> y = view_of(out), at = view_of(attended);
  detail::check_categorical(mixer, x, y, at);
  const Index B = x.extent(0), N = x.extent(1);
  const Index H = mixer.predicate.extent(0), V = mixer.predicate.extent(1);
  detail::check_policy(mixer.mask, B, H, N, N);

  Arena::Frame frame(ctx.arena());
  const auto zeros = [&](Index channels) {
    double* memory = ctx.arena().template take<double>(B * H * N * channels);
    std::fill_n(memory, B * H * N * channels, 0.0);
    return View<double, 4>(memory, {B, H, N, channels});
  };
  const View<double, 4> q = zeros(V), k = zeros(V), v = zeros(2), best = zeros(2);
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < H; ++h)
      for (Index i = 0; i < N; ++i) {
        q(b, h, i, mixer.predicate(h, x(b, i, mixer.query_var(h)))) = 1;
        k(b, h, i, x(b, i, mixer.key_var(h))) = 1;
        v(b, h, i, 0) = static_cast<double>(i);
        v(b, h, i, 1) = x(b, i, mixer.value_var(h));
      }
  const detail::CategoricalChoice<M> choice{mixer.mask, mixer.context};
  forward<A>(Softmax{NoMask{}, choice, TopK{1}, 1.0}, q, k, v, best, ctx);
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < H; ++h)
      for (Index i = 0; i < N; ++i) {
        at(b, h, i) = static_cast<std::int32_t>(best(b, h, i, 0));
        y(b, i, h) = static_cast<std::int32_t>(best(b, h, i, 1));
      }
}

}  // namespace weft
