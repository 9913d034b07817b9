#pragma once

#include "reference/distance.hpp"
#include "reference/norm.hpp"
#include "reference/position.hpp"
#include "reference/softmax.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax.hpp>
#include <weft/attention/softmax/logit_factor.hpp>
#include <weft/attention/softmax/rope_alibi.hpp>
#include <weft/attention/softmax/weight_factor.hpp>
#include <weft/layer/norm.hpp>
#include <weft/position/alibi.hpp>
#include <weft/position/relative_bias.hpp>
#include <weft/position/rope.hpp>
#include <weft/position/urpe_buckets.hpp>

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

/// The case table of the softmax family. Each row names a catalog entry and says how the library
/// computes it and what the reference is to be asked. Tests compare the two on awkward shapes;
/// benchmarks time the same row on a realistic one.
namespace cases {

using weft::Index;

/// Batch, query and key/value heads, queries, keys, channels of q and k, channels of v.
struct AttentionShape {
  Index B = 1, Hq = 1, Hk = 1, N = 1, M = 1, D = 1, E = 1;

  reference::AttentionSizes sizes() const {
    const auto size = [](Index n) { return static_cast<std::size_t>(n); };
    return {size(B), size(Hq), size(Hk), size(N), size(M), size(D), size(E)};
  }
};

template <class T, std::size_t Rank>
reference::Values doubles(const weft::Tensor<T, Rank>& tensor) {
  return doubles_of(tensor.view());
}

/// Inputs of one attention call, and what its policies refer to. T is the storage of q, k and v.
template <class T>
struct AttentionInputs {
  using P = weft::Accumulator<T>;

  explicit AttentionInputs(const AttentionShape& s, std::uint64_t seed = 1)
      : shape(s),
        q(even_values<T, 4>({s.B, s.Hq, s.N, s.D}, 3 * seed, -2, 2)),
        k(even_values<T, 4>({s.B, s.Hk, s.M, s.D}, 3 * seed + 1, -2, 2)),
        v(even_values<T, 4>({s.B, s.Hk, s.M, s.E}, 3 * seed + 2)) {}

  AttentionShape shape;
  weft::Tensor<T, 4> q, k, v;

  // Filled by the rows that use them: what policies refer to.
  weft::Tensor<P, 4> bias, factor;
  weft::Tensor<std::uint8_t, 4> mask;
  weft::Tensor<P, 1> per_head, channels;
  weft::Tensor<P, 2> table, distances, factor_table, factor_distances;
  weft::Tensor<P, 3> gates;

  /// [1, Hq, N, M] numbers; some are -inf, which hides the key.
  weft::View<const P, 4> draw_bias() {
    bias = even_values<P, 4>({1, shape.Hq, shape.N, shape.M}, 11, -3, 3);
    for (Index i = 0; i < bias.size(); i += 13) {
      bias.data()[i] = -std::numeric_limits<P>::infinity();
    }
    return std::as_const(bias).view();
  }

  /// [1, Hq, N, M] factors of the logits, some of them zero.
  weft::View<const P, 4> draw_factor() {
    factor = even_values<P, 4>({1, shape.Hq, shape.N, shape.M}, 16, -1, 2);
    for (Index i = 0; i < factor.size(); i += 11) factor.data()[i] = 0;
    return std::as_const(factor).view();
  }

  /// [B, 1, N, M], about two keys of three visible, none to query 1.
  weft::View<const std::uint8_t, 4> draw_mask() {
    const auto numbers = even_values<float, 4>({shape.B, 1, shape.N, shape.M}, 12);
    mask = weft::Tensor<std::uint8_t, 4>(numbers.shape());
    for (Index b = 0; b < shape.B; ++b) {
      for (Index i = 0; i < shape.N; ++i) {
        for (Index j = 0; j < shape.M; ++j) mask(b, 0, i, j) = numbers(b, 0, i, j) < 0.3f && i != 1;
      }
    }
    return std::as_const(mask).view();
  }

  /// [Hq] numbers in [-2, 2).
  weft::View<const P, 1> draw_per_head() {
    per_head = even_values<P, 1>({shape.Hq}, 13, -2, 2);
    return std::as_const(per_head).view();
  }

  /// [1, Hq, 1] numbers in [0, 1): a gate per head, which suits every verb.
  weft::View<const P, 3> draw_gates() {
    gates = even_values<P, 3>({1, shape.Hq, 1}, 16, 0, 1);
    return std::as_const(gates).view();
  }

  weft::View<const P, 1> draw_slopes() {
    per_head = weft::alibi_slopes<P>(shape.Hq);
    return std::as_const(per_head).view();
  }

  /// The number of every distance, [Hq, N + M - 1], from a table [rows, Hq].
  template <class Buckets>
  weft::Tensor<P, 2> by_distance(const Buckets& rule, const weft::Tensor<P, 2>& numbers) const {
    weft::Tensor<P, 2> all({shape.Hq, std::max<Index>(shape.N + shape.M - 1, 0)});
    weft::relative_bias(rule, numbers, 1 - shape.M, all);
    return all;
  }

  /// The bias of every distance, from a table drawn here.
  template <class Buckets>
  weft::RelativeBias<P> draw_relative_bias(const Buckets& rule) {
    table = even_values<P, 2>({rule.rows(), shape.Hq}, 14, -2, 2);
    distances = by_distance(rule, table);
    return {std::as_const(distances).view(), shape.M - 1};
  }

  /// Factors of the weights, negative ones among them.
  template <class Buckets>
  weft::WeightFactor<weft::RelativeFactor<P>> draw_weight_factor(const Buckets& rule) {
    factor_table = even_values<P, 2>({rule.rows(), shape.Hq}, 17, -1, 2);
    factor_distances = by_distance(rule, factor_table);
    return {weft::RelativeFactor<P>(std::as_const(factor_distances).view(), shape.M - 1)};
  }

  /// Harmonic distances; no table can be made of no queries or no keys.
  weft::RelativeBias<P> draw_harmonic() {
    const Index N = std::max<Index>(shape.N, 1), M = std::max<Index>(shape.M, 1);
    distances = weft::harmonic_bias<P>(draw_slopes(), N, M);
    return {std::as_const(distances).view(), M - 1};
  }

  /// Channels that RoPE turns: all, or all but one.
  Index rotary() const { return shape.D / 2 * 2; }

  /// RoPE on q and k; the last query stands at the last key.
  void rotate() {
    if (rotary() == 0) return;
    const Index shift = shape.M - shape.N, first = std::min<Index>(shift, 0);
    const Index last = std::max(shape.M, shape.N);
    const auto frequencies = weft::rope_frequencies(rotary());
    const weft::RopeTable<P> turns(frequencies, weft::RopeLayout::half, last - first, first);
    weft::apply_rope(turns, q, q, shift);
    weft::apply_rope(turns, k, k, 0);
  }

  /// RMSNorm over the channels of q and k, with one weight [D].
  void normalize() {
    channels = even_values<P, 1>({shape.D}, 15, 0.5, 1.5);
    const weft::RmsNorm<P> norm{std::as_const(channels).view(), P(1e-6)};
    weft::normalize(norm, q, q);
    weft::normalize(norm, k, k);
  }
};

/// The question to the reference that goes with the inputs: a row fills in the options, and does to
/// q and k what the library does to them before attention.
struct Question {
  reference::Values q, k, v;
  reference::AttentionOptions options;

  template <class T>
  explicit Question(const AttentionInputs<T>& in)
      : q(doubles(in.q)), k(doubles(in.k)), v(doubles(in.v)) {}

  reference::AttentionResult answer(const AttentionShape& shape) const {
    return reference::attention(shape.sizes(), q, k, v, options);
  }

  void rotate(const AttentionShape& s, Index rotary) {
    std::vector<double> frequencies;
    for (Index i = 0; i < rotary / 2; ++i) {
      frequencies.push_back(std::pow(1e4, -2.0 * double(i) / double(rotary)));
    }
    const auto turn = [&](Index shift) {
      return [&, shift](const std::vector<double>& row, Index i) {
        return reference::rope(row, frequencies, double(i + shift), 1.0, false);
      };
    };
    change_rows(q, s.N, s.D, turn(s.M - s.N));
    change_rows(k, s.M, s.D, turn(0));
  }

  void normalize(const AttentionShape& s, const reference::Values& weight) {
    const auto norm = [&](const std::vector<double>& row, Index) {
      return reference::rms_norm(row, 1e-6, weight);
    };
    change_rows(q, s.N, s.D, norm);
    change_rows(k, s.M, s.D, norm);
  }

 private:
  /// Replaces every row of q or k by f(row, position), with `rows` rows per head.
  template <class F>
  static void change_rows(reference::Values& values, Index rows, Index channels, F f) {
    const auto d = static_cast<std::ptrdiff_t>(channels);
    for (std::ptrdiff_t r = 0; r * d < std::ssize(values); ++r) {
      const auto at = values.begin() + r * d;
      const std::vector<double> row = f(std::vector<double>(at, at + d), r % rows);
      std::copy(row.begin(), row.end(), at);
    }
  }
};

/// One row: `mixer(inputs)` gives what to call the verbs with, after preparing inputs.q and
/// inputs.k where the mechanism does; `ask(inputs, question)` tells the reference.
template <class MakeMixer, class Ask>
struct SoftmaxCase {
  std::string_view name;  ///< family/variant, as in catalog.hpp
  Index group;            ///< query heads per key/value head
  MakeMixer mixer;
  Ask ask;
  bool changes_inputs = false;  ///< q and k are rounded to their storage once more
};
template <class MakeMixer, class Ask>
SoftmaxCase(std::string_view, Index, MakeMixer, Ask) -> SoftmaxCase<MakeMixer, Ask>;
template <class MakeMixer, class Ask>
SoftmaxCase(std::string_view, Index, MakeMixer, Ask, bool) -> SoftmaxCase<MakeMixer, Ask>;

inline const weft::Causal kCausal{weft::Align::bottom_right};
inline constexpr weft::RelativeBuckets kBuckets{8, 20, true};
inline constexpr weft::UrpeBuckets kUrpeBias{8, 20, 400}, kUrpeFactor{16, 60, 50};

/// Calls f(row) for every row.
template <class F>
void for_each_softmax_case(F&& f) {
  using namespace weft;
  using reference::CausalMode;

  f(SoftmaxCase{"softmax/full", 1,  //
                [](auto&) { return Softmax{}; }, [](auto&, Question&) {}});
  f(SoftmaxCase{"softmax/grouped_query", 3,  //
                [](auto&) { return Softmax{}; }, [](auto&, Question&) {}});
  f(SoftmaxCase{"softmax/causal", 1,  //
                [](auto&) { return Softmax{kCausal}; },
                [](auto&, Question& a) { a.options.causal = CausalMode::bottom_right; }});
  f(SoftmaxCase{"softmax/causal_top_left", 1,  //
                [](auto&) { return Softmax{Causal{Align::top_left}}; },
                [](auto&, Question& a) { a.options.causal = CausalMode::top_left; }});
  f(SoftmaxCase{"softmax/window", 2,  //
                [](auto&) {
                  return Softmax{Window{9, 4}};
                },
                [](auto&, Question& a) {
                  a.options.window_left = 9;
                  a.options.window_right = 4;
                }});
  f(SoftmaxCase{"softmax/sink_tokens", 2,
                [](auto&) {
                  return Softmax{And{kCausal, Or{Window{7, 0}, FirstKeys{3}}}};
                },
                [](auto&, Question& a) {
                  a.options.causal = CausalMode::bottom_right;
                  a.options.window_left = 7;
                  a.options.window_right = 0;
                  a.options.sink_tokens = 3;
                }});
  f(SoftmaxCase{"softmax/softcap", 1,
                [](auto&) {
                  return Softmax{NoMask{}, SoftCap{1.5}};
                },
                [](auto&, Question& a) { a.options.softcap = 1.5; }});
  f(SoftmaxCase{"softmax/sinks", 2,
                [](auto& in) {
                  return Softmax{kCausal, NoScore{}, SinkSoftmax{in.draw_per_head()}};
                },
                [](auto& in, Question& a) {
                  a.options.causal = CausalMode::bottom_right;
                  a.options.logit_sinks = doubles(in.per_head);
                }});
  f(SoftmaxCase{
      "softmax/off_by_one", 1,
      [](auto&) {
        return Softmax{NoMask{}, NoScore{}, OffByOneSoftmax{}};
      },
      [](auto& in, Question& a) { a.options.logit_sinks.assign(in.shape.sizes().Hq, 0.0); }});
  f(SoftmaxCase{"softmax/bias", 2,
                [](auto& in) {
                  return Softmax{NoMask{}, AdditiveBias{in.draw_bias()}};
                },
                [](auto& in, Question& a) {
                  const auto s = in.shape.sizes();
                  a.options.bias = {doubles(in.bias), 1, s.Hq, s.N, s.M};
                }});
  f(SoftmaxCase{"softmax/elementwise_mask", 2,
                [](auto& in) {
                  return Softmax{NoMask{}, LogitFactor{in.draw_factor()}};
                },
                [](auto& in, Question& a) {
                  const auto s = in.shape.sizes();
                  a.options.factor = {doubles(in.factor), 1, s.Hq, s.N, s.M};
                }});
  f(SoftmaxCase{"softmax/bool_mask", 1, [](auto& in) { return Softmax{BoolMask{in.draw_mask()}}; },
                [](auto& in, Question& a) {
                  const auto s = in.shape.sizes();
                  const auto bytes = in.mask.span();
                  a.options.mask = {{bytes.begin(), bytes.end()}, s.B, 1, s.N, s.M};
                }});
  f(SoftmaxCase{"softmax/alibi", 3,
                [](auto& in) {
                  return Softmax{kCausal, Alibi{in.draw_slopes()}};
                },
                [](auto& in, Question& a) {
                  a.options.causal = CausalMode::bottom_right;
                  a.options.alibi_slopes = reference::alibi_slopes(in.shape.sizes().Hq);
                }});
  f(SoftmaxCase{"softmax/t5_bias", 1,
                [](auto& in) {
                  return Softmax{NoMask{}, in.draw_relative_bias(kBuckets), PlainSoftmax{}, 1.0};
                },
                [](auto& in, Question& a) {
                  a.options.scale = 1.0;
                  a.options.t5 = {doubles(in.table), 8, 20, true};
                }});
  f(SoftmaxCase{"softmax/urpe", 2,
                [](auto& in) {
                  return Softmax{kCausal, Chain{in.draw_relative_bias(kUrpeBias),
                                                in.draw_weight_factor(kUrpeFactor)}};
                },
                [](auto& in, Question& a) {
                  const auto s = in.shape.sizes();
                  a.options.causal = CausalMode::bottom_right;
                  a.options.bias = {reference::urpe(doubles(in.table), 8, 20, 400, s.N, s.M), 1,
                                    s.Hq, s.N, s.M};
                  a.options.weight_factor = {
                      reference::urpe(doubles(in.factor_table), 16, 60, 50, s.N, s.M), 1, s.Hq, s.N,
                      s.M};
                }});
  f(SoftmaxCase{"softmax/rope", 2,
                [](auto& in) {
                  in.rotate();
                  return Softmax{kCausal};
                },
                [](auto& in, Question& a) {
                  a.options.causal = CausalMode::bottom_right;
                  a.rotate(in.shape, in.rotary());
                },
                true});
  f(SoftmaxCase{"softmax/rope_alibi", 2,
                [](auto& in) {
                  in.rotate();
                  return Softmax{kCausal, RopeAlibi{0.75, 0.5, in.draw_harmonic()}};
                },
                [](auto& in, Question& a) {
                  const auto s = in.shape.sizes();
                  a.rotate(in.shape, in.rotary());
                  a.options.causal = CausalMode::bottom_right;
                  a.options.scale = 0.75 / std::sqrt(static_cast<double>(s.D));
                  a.options.bias = {
                      reference::harmonic(reference::alibi_slopes(s.Hq), s.N, s.M, 0.5), 1, s.Hq,
                      s.N, s.M};
                },
                true});
  f(SoftmaxCase{"softmax/qk_norm", 1,
                [](auto& in) {
                  in.normalize();
                  return Softmax{};
                },
                [](auto& in, Question& a) { a.normalize(in.shape, doubles(in.channels)); }, true});
}

}  // namespace cases
