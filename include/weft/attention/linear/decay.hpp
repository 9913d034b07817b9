#pragma once

#include <weft/core/arguments.hpp>

/// Decays: how much of the state is kept when a token arrives, S <- a_t S, given by log a_t.
///
/// log a_t <= 0 forgets; -infinity forgets everything; positive values are allowed and let the
/// state grow. Nothing is clamped. Tokens are those of the call: [B, H, N] in forward and prefill,
/// [B, H, 1] in step, [1, H, T] for a ragged batch. Strides are free, but 1 in the last axis of
/// ChannelDecay. A decay is a plain struct that says which kind it is:
///
///   static constexpr DecayKind kind
///   double log_at(b, h, token)                       a number per token and head
///   const S* row(b, h, token)                        a number per channel of the features, too
///   void check(batch, heads, tokens, features)       throws where shapes do not fit
namespace weft {

enum class DecayKind { none, number, channels };

/// a = 1.
struct NoDecay {
  static constexpr DecayKind kind = DecayKind::none;
  void check(Index, Index, Index, Index) const noexcept {}
};

/// One number per head for all tokens, log_decay [H] (RetNet, arXiv:2307.08621).
template <class S = float>
struct HeadDecay {
  static constexpr DecayKind kind = DecayKind::number;
  View<const S, 1> log_decay;

  explicit HeadDecay(View<const S, 1> per_head) noexcept : log_decay(per_head) {}

  double log_at(Index, Index h, Index) const noexcept { return static_cast<double>(log_decay(h)); }
  void check(Index, Index heads, Index, Index) const {
    require(log_decay.extent(0) == heads, "HeadDecay: ", log_decay.extent(0), " numbers for ",
            heads, " heads; give one per head");
  }
};
template <class X>
HeadDecay(X&&) -> HeadDecay<detail::Element<X>>;

/// One number per token and head, log_decay [B, H, N] (Mamba-2, gated DeltaNet).
template <class S = float>
struct TokenDecay {
  static constexpr DecayKind kind = DecayKind::number;
  View<const S, 3> log_decay;

  explicit TokenDecay(View<const S, 3> per_token) noexcept : log_decay(per_token) {}

  double log_at(Index b, Index h, Index token) const noexcept {
    return static_cast<double>(log_decay(b, h, token));
  }
  void check(Index batch, Index heads, Index tokens, Index) const {
    require(log_decay.shape() == std::array{batch, heads, tokens}, "TokenDecay: log_decay is ",
            log_decay, ", must be [", batch, ", ", heads, ", ", tokens, "]");
  }
};
template <class X>
TokenDecay(X&&) -> TokenDecay<detail::Element<X>>;

/// One number per token and channel of the features, log_decay [B, H, N, F] (gated linear
/// attention, arXiv:2312.06635).
template <class S = float>
struct ChannelDecay {
  static constexpr DecayKind kind = DecayKind::channels;
  View<const S, 4> log_decay;

  explicit ChannelDecay(View<const S, 4> per_channel) noexcept : log_decay(per_channel) {}

  const S* row(Index b, Index h, Index token) const noexcept {
    return log_decay.pointer(b, h, token);
  }
  void check(Index batch, Index heads, Index tokens, Index features) const {
    require(log_decay.shape() == std::array{batch, heads, tokens, features},
            "ChannelDecay: log_decay is ", log_decay, ", must be [", batch, ", ", heads, ", ",
            tokens, ", ", features, "]");
    require(log_decay.stride(3) == 1 || features == 1,
            "ChannelDecay: the channels of log_decay must be contiguous");
  }
};
template <class X>
ChannelDecay(X&&) -> ChannelDecay<detail::Element<X>>;

}  // namespace weft
