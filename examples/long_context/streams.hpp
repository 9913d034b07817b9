#pragma once

#include "tokens.hpp"
#include <weft/attention/delta.hpp>
#include <weft/attention/linear.hpp>
#include <weft/attention/softmax.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace long_context {

using weft::Context;

/// A mixer with its state, fed with pieces of a text.
class Stream {
 public:
  virtual ~Stream() = default;
  /// Mixes the first n tokens into out [1, heads, n, channels].
  virtual void feed(const Tokens& tokens, Index n, View<float, 4> out, const Context& ctx) = 0;
  virtual Index state_bytes() const = 0;
};

/// The first n tokens of [1, heads, most, ...].
template <std::size_t Rank>
View<const float, Rank> first(const Tensor<float, Rank>& x, Index n) {
  return x.view().slice(2, 0, n);
}

/// Mixers whose state does not grow. `make(tokens, n)` is the mixer of a piece, which holds the
/// piece's gates.
template <class Make>
class LinearStream : public Stream {
 public:
  explicit LinearStream(Make make)
      : make_(make),
        state_(
            weft::make_state(make(Tokens(1), 1),
                             {.batch = 1, .heads = kHeads, .key_dim = kDim, .value_dim = kDim})) {}

  void feed(const Tokens& tokens, Index n, View<float, 4> out, const Context& ctx) override {
    weft::prefill(make_(tokens, n), state_, first(tokens.q, n), first(tokens.k, n),
                  first(tokens.v, n), out, ctx);
  }
  Index state_bytes() const override { return state_.bytes(); }

 private:
  Make make_;
  weft::LinearState<float> state_;
};

/// Softmax attention: its cache grows with the text, here by doubling.
class SoftmaxStream : public Stream {
 public:
  void feed(const Tokens& tokens, Index n, View<float, 4> out, const Context& ctx) override {
    if (cache_.length() + n > cache_.capacity()) grow(n);
    weft::prefill(mixer_, cache_, first(tokens.q, n), first(tokens.k, n), first(tokens.v, n), out,
                  ctx);
  }
  Index state_bytes() const override { return cache_.bytes(); }

 private:
  static weft::KvCache<float> cache_for(Index tokens) {
    return weft::KvCache<float>({1, kHeads, tokens, kDim, kDim});
  }
  void grow(Index n) {
    auto larger = cache_for(std::max(2 * cache_.capacity(), cache_.length() + n));
    larger.append(cache_.keys(), cache_.values());
    cache_ = std::move(larger);
  }

  weft::Softmax<weft::Causal> mixer_{weft::Causal{weft::Align::bottom_right}};
  weft::KvCache<float> cache_ = cache_for(1024);
};

template <class Make>
std::unique_ptr<Stream> linear_stream(Make make) {
  return std::make_unique<LinearStream<Make>>(make);
}

struct NamedStream {
  std::string name, summary;
  std::function<std::unique_ptr<Stream>()> make;
};

/// Everything that `--mixer` knows.
inline std::vector<NamedStream> streams() {
  using weft::LinearAttention;
  static const auto log_gamma = weft::retention_log_decay(kHeads);
  return {
      {"softmax", "causal attention with a growing cache",
       [] { return std::make_unique<SoftmaxStream>(); }},
      {"linear", "elu(x) + 1 features",
       [] {
         return linear_stream([](const Tokens&, Index) {
           return LinearAttention{weft::EluPlusOne{}, weft::NoDecay{}, weft::Additive{},
                                  weft::PlusEpsilon{}};
         });
       }},
      {"retnet", "a fixed decay per head, queries and keys not turned",
       [] { return linear_stream([](const Tokens&, Index) { return retention(log_gamma); }); }},
      {"simple_gla", "a decay per token",
       [] {
         return linear_stream([](const Tokens& tokens, Index n) {
           return weft::simple_gated_linear(first(tokens.decay, n));
         });
       }},
      {"gla", "a decay per token and channel",
       [] {
         return linear_stream([](const Tokens& tokens, Index n) {
           return weft::gated_linear(first(tokens.channel_decay, n));
         });
       }},
      {"deltanet", "the delta rule",
       [] {
         return linear_stream(
             [](const Tokens& tokens, Index n) { return weft::delta_net(first(tokens.beta, n)); });
       }},
      {"gated_deltanet", "the delta rule with a decay per token",
       [] {
         return linear_stream([](const Tokens& tokens, Index n) {
           return weft::gated_delta_net(first(tokens.decay, n), first(tokens.beta, n));
         });
       }},
  };
}

}  // namespace long_context
