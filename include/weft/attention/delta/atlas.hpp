#pragma once

#include <weft/attention/delta/memory.hpp>
#include <weft/attention/delta/newton_schulz.hpp>
#include <weft/core/arguments.hpp>
#include <weft/core/row_access.hpp>

namespace weft {

/// Polynomial features of a key: phi(x) = [a_0, a_1 x, a_2 x (x) x, ...], Kronecker powers
/// row-major, F = 1 + D + D^2 + ... numbers. No coefficients: phi(x) = x.
struct KroneckerPowers {
  std::vector<double> coefficients;  ///< a_0, a_1, ...

  Index size(Index dim) const noexcept {
    if (coefficients.empty()) return dim;
    Index sum = 0, power = 1;
    for (std::size_t i = 0; i < coefficients.size(); ++i, power *= dim) sum += power;
    return sum;
  }
  template <class T>
  void map(const T* x, Index dim, T* to) const noexcept {
    if (coefficients.empty()) {
      std::copy_n(x, dim, to);
      return;
    }
    // Powers without coefficients first: each is the one before, times x.
    Index at = 0, count = 1;
    to[0] = T(1);
    for (std::size_t i = 1; i < coefficients.size(); ++i, count *= dim) {
      for (Index p = 0; p < count; ++p)
        for (Index d = 0; d < dim; ++d) to[at + count + p * dim + d] = to[at + p] * x[d];
      at += count;
    }
    at = 0, count = 1;
    for (const double a : coefficients) {
      for (Index p = 0; p < count; ++p) to[at + p] *= static_cast<T>(a);
      at += count;
      count *= dim;
    }
  }
};

/// Memory trained while it is read (ATLAS: Learning to Optimally Memorize the Context at Test Time,
/// arXiv:2505.23735; Titans: Learning to Memorize at Test Time, arXiv:2501.00663). For each token
///
///   G_t = d/dP sum_{j < window} gamma[t, j] |Mem(phi(k_{t-j}); P*) - v_{t-j}|^2
///   S_t = theta_t S_{t-1} - eta_t G_t                                              (momentum)
///   P_t = alpha_t P_{t-1} + (NS(S_t) or S_t)             for every weight matrix of the memory
///   out_t = Mem(phi(q_t); P_t)
///
/// with P* = P_{t-1}, or the weights at the start of the block of `block` tokens that t is in; NS
/// is newton_schulz with `steps` steps, 0 for none. Memories are those of memory.hpp.
///
///   delta rule     LinearMemory, window 1, theta 0, alpha 1, eta = beta / 2, state = transpose
///   Omega rule     LinearMemory, window > 1, theta 0                              (OmegaNet)
///   Titans         any memory, window 1, no steps; alpha is 1 minus its forget gate
///   ATLAS          DeepMemory, window > 1, 5 steps
///
/// The papers' code is not published. Where transcriptions differ the definition is ours: the
/// learning rate is inside S (the other way differs by a factor, as NS forgets scales), gamma may
/// depend on t and j, and the memory is read after it is written.
///
/// q, k [B, H, N, D], v and out [B, H, N, E]; alpha, eta, theta [B, H, N]; gamma [B, H, N, window],
/// or empty for ones. Elements fp32 (fp32 arithmetic) or fp64. Time per token O(window |P|), and of
/// NS O(steps |P| rows). Heads are tasks; each allocates its scratch in every call.
template <class Memory = LinearMemory, class T = float>
struct Atlas {
  Memory memory{};
  View<const T, 3> alpha, eta, theta;
  View<const T, 4> gamma{};
  Index window = 1;
  KroneckerPowers features{};
  int steps = 0;
  Index block = 1;
};

/// What an Atlas carries from token to token: weights and momenta [B, H, rows, columns] each, the
/// weights at the start of the block, and the last `window` keys and values. The caller fills in
/// the initial weights, which a model has learned; zeros are the empty linear memory.
template <class T = float>
struct AtlasState {
  std::vector<Tensor<T, 4>> weights, momenta, frozen;
  Tensor<T, 4> keys, values;
  Index position = 0;

  /// To save, restore or roll back.
  AtlasState clone() const {
    const auto all = [](const std::vector<Tensor<T, 4>>& list) {
      std::vector<Tensor<T, 4>> out;
      for (const auto& x : list) out.push_back(x.clone());
      return out;
    };
    return {all(weights), all(momenta), all(frozen), keys.clone(), values.clone(), position};
  }
  Index bytes() const noexcept {
    Index numbers = keys.size() + values.size();
    for (const auto* list : {&weights, &momenta, &frozen})
      for (const auto& x : *list) numbers += x.size();
    return numbers * static_cast<Index>(sizeof(T));
  }
};

template <class Memory, class T>
AtlasState<T> make_state(const Atlas<Memory, T>& mixer, Index batch, Index heads, Index key_dim,
                         Index value_dim) {
  require(batch >= 1 && heads >= 1 && key_dim >= 1 && value_dim >= 1 && mixer.window >= 1,
          "Atlas: batch, heads, head sizes and window must be positive");
  const Index features = mixer.features.size(key_dim);
  AtlasState<T> state;
  for (const auto& [rows, columns] : mixer.memory.shapes(features, value_dim)) {
    const std::array shape{batch, heads, rows, columns};
    state.weights.emplace_back(shape);
    state.momenta.emplace_back(shape);
    if (mixer.block > 1) state.frozen.emplace_back(shape);
  }
  state.keys = Tensor<T, 4>({batch, heads, mixer.window, features});
  state.values = Tensor<T, 4>({batch, heads, mixer.window, value_dim});
  return state;
}

namespace detail {

/// One head on its way through the tokens of a call.
template <class Memory, class T, class A>
class AtlasHead {
 public:
  AtlasHead(const Atlas<Memory, T>& mixer, AtlasState<T>& state, Index b, Index h)
      : mixer_(mixer), b_(b), h_(h), keys_(head(state.keys)), values_(head(state.values)) {
    for (std::size_t i = 0; i < state.weights.size(); ++i) {
      weights_.push_back(head(state.weights[i]));
      momenta_.push_back(head(state.momenta[i]));
      if (mixer.block > 1) frozen_.push_back(head(state.frozen[i]));
      gradients_.push_back(scratch_matrix<T>(own_, weights_[i].extent(0), weights_[i].extent(1)));
    }
    rates_ = own_.arena().template take<T>(mixer.window);
    query_ = scratch_matrix<T>(own_, 1, keys_.extent(1));
  }

  void token(Index t, Index position, const T* q, const T* k, const T* v, T* out, Index dim) {
    const Index slot = position % mixer_.window, seen = std::min(position + 1, mixer_.window);
    mixer_.features.map(k, dim, keys_.pointer(slot));
    std::copy_n(v, values_.extent(1), values_.pointer(slot));
    for (Index j = 0; j < seen; ++j)
      rates_[(position - j) % mixer_.window] =
          mixer_.gamma.data() == nullptr ? T(1) : mixer_.gamma(b_, h_, t, j);
    if (mixer_.block > 1 && position % mixer_.block == 0)
      for (std::size_t i = 0; i < weights_.size(); ++i)
        std::copy_n(weights_[i].data(), weights_[i].size(), frozen_[i].data());
    mixer_.memory.template gradient<A>(
        mixer_.block > 1 ? frozen_ : weights_, View<const T, 2>(keys_.slice(0, 0, seen)),
        View<const T, 2>(values_.slice(0, 0, seen)), rates_, gradients_, own_);
    for (std::size_t i = 0; i < weights_.size(); ++i) learn(t, i);
    mixer_.features.map(q, dim, query_.data());
    mixer_.memory.template read<A>(weights_, View<const T, 2>(query_),
                                   View<T, 2>(out, {1, values_.extent(1)}), own_);
  }

 private:
  View<T, 2> head(Tensor<T, 4>& x) const { return x.view().select(0, b_).select(0, h_); }

  void learn(Index t, std::size_t i) {
    using V = Vec<T, A>;
    const Index n = weights_[i].size();
    const V theta(mixer_.theta(b_, h_, t)), rate(-mixer_.eta(b_, h_, t));
    const V alpha(mixer_.alpha(b_, h_, t));
    const auto momentum = [&](const V& s, const V& g) { return mul_add(rate, g, theta * s); };
    const auto keep_and_add = [&](const V& p, const V& s) { return mul_add(alpha, p, s); };
    map_numbers<A>(n, momenta_[i].data(), momentum, gradients_[i].data());
    const T* change = momenta_[i].data();
    if (mixer_.steps > 0) {
      std::copy_n(change, n, gradients_[i].data());
      newton_schulz<T, A>(gradients_[i], mixer_.steps, own_);
      change = gradients_[i].data();
    }
    map_numbers<A>(n, weights_[i].data(), keep_and_add, change);
  }

  const Atlas<Memory, T>& mixer_;
  Index b_, h_;
  Context own_;  ///< scratch of this head
  Arena::Frame frame_{own_.arena()};
  View<T, 2> keys_, values_, query_;
  std::vector<View<T, 2>> weights_, momenta_, frozen_, gradients_;
  T* rates_ = nullptr;
};

template <class Memory, class T>
void check_atlas(const Atlas<Memory, T>& m, const AtlasState<T>& state, const View<const T, 4>& q,
                 const View<const T, 4>& k, const View<const T, 4>& v, const View<T, 4>& out) {
  require(q.shape() == k.shape() && v.shape() == out.shape(), "Atlas: q is ", q, ", k ", k, ", v ",
          v, ", out ", out, "; wanted two pairs of one shape");
  for (std::size_t axis : {0u, 1u, 2u}) require_axis(k, "k", v, "v", axis, "leading axes");
  for (const auto* x : {&q, &k, &v}) require_channels(*x, "q, k or v");
  require_channels(out, "out");
  const std::array gates{q.extent(0), q.extent(1), q.extent(2)};
  require(m.alpha.shape() == gates && m.eta.shape() == gates && m.theta.shape() == gates,
          "Atlas: alpha is ", m.alpha, ", eta ", m.eta, ", theta ", m.theta,
          "; wanted one number per token and head");
  require(m.gamma.data() == nullptr ||
              m.gamma.shape() == std::array{gates[0], gates[1], gates[2], m.window},
          "Atlas: gamma is ", m.gamma, " for a window of ", m.window);
  require(m.block >= 1 && m.steps >= 0, "Atlas: block must be positive, steps not negative");
  const Index F = m.features.size(k.extent(3));
  require(state.keys.shape() == std::array{gates[0], gates[1], m.window, F} &&
              state.values.shape() == std::array{gates[0], gates[1], m.window, v.extent(3)} &&
              state.weights.size() == m.memory.shapes(F, v.extent(3)).size() &&
              (m.block == 1 || state.frozen.size() == state.weights.size()),
          "Atlas: the state does not fit; make it with make_state of the same sizes");
}

}  // namespace detail

/// n tokens from a state, which moves on.
template <class A = DefaultArch, class Memory, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void prefill(const Atlas<Memory, T>& mixer, AtlasState<T>& state, const Q& q, const K& k,
             const V& v, O&& out, const Context& ctx = Context()) {
  const View<const T, 4> queries = view_of(q), keys = view_of(k), values = view_of(v);
  const View<T, 4> results = view_of(out);
  detail::check_atlas(mixer, state, queries, keys, values, results);
  const Index heads = queries.extent(1), tokens = queries.extent(2);
  ctx.parallel(queries.extent(0) * heads, [&](Index task, Arena&) {
    const Index b = task / heads, h = task % heads;
    detail::AtlasHead<Memory, T, A> head(mixer, state, b, h);
    for (Index t = 0; t < tokens; ++t)
      head.token(t, state.position + t, queries.pointer(b, h, t), keys.pointer(b, h, t),
                 values.pointer(b, h, t), results.pointer(b, h, t), keys.extent(3));
  });
  state.position += tokens;
}

/// A whole sequence from a state, which stays: it holds the weights that a model has learned.
template <class A = DefaultArch, class Memory, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const Atlas<Memory, T>& mixer, const AtlasState<T>& initial, const Q& q, const K& k,
             const V& v, O&& out, const Context& ctx = Context()) {
  auto state = initial.clone();
  prefill<A>(mixer, state, q, k, v, out, ctx);
}

/// One token: q, k [B, H, D], v, out [B, H, E].
template <class A = DefaultArch, class Memory, class T, ViewLike<3> Q, ViewLike<3> K, ViewLike<3> V,
          ViewLike<3> O>
void step(const Atlas<Memory, T>& mixer, AtlasState<T>& state, const Q& q, const K& k, const V& v,
          O&& out, const Context& ctx = Context()) {
  prefill<A>(mixer, state, detail::token_of(q), detail::token_of(k), detail::token_of(v),
             detail::one_token(view_of(out)), ctx);
}

}  // namespace weft
