#pragma once

#include <weft/core/check.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// Frequencies of rotary position embeddings, and how they are stretched for longer contexts.
///
/// Plain (RoFormer, arXiv:2104.09864): pair i of R rotary channels turns by f_i = base^(-2i / R)
/// radians per position, i < R / 2. The scalings below replace f_i; s is the factor by which the
/// context grows and L0 the context of training. Where a ramp is used it grows from 0 to 1 between
/// the pairs that make `a` and `b` turns within L0, a > b:
///   pair(r) = R ln(L0 / (2 pi r)) / (2 ln base)
///   ramp_i = clamp((i - low) / (high - low), 0, 1),  low = max(floor(pair(a)), 0),
///            high = min(ceil(pair(b)), R - 1), at least low + 0.001
/// All is done in double. Every function throws on R odd or not positive, base <= 1, s < 1, and on
/// parameters that are not finite or leave an interval empty.
namespace weft {

struct RopeFrequencies {
  std::vector<double> radians;  ///< f_i per position, [R / 2]
  double magnitude = 1.0;       ///< factor on cosine and sine; logits grow by its square (YaRN)

  Index rotary() const noexcept { return 2 * static_cast<Index>(radians.size()); }
};

/// f_i / s: positions are squeezed into the trained range (Position Interpolation,
/// arXiv:2306.15595).
struct RopeLinear {
  double factor;
};

/// base <- base s^(R / (R - 2)), R > 2: the fastest pair stays, the slowest is divided by s.
struct RopeNtk {
  double factor;
};

/// YaRN (arXiv:2309.00071): f_i (1 - ramp_i) + f_i / s ramp_i; magnitude 1 + 0.1 ln s.
struct RopeYarn {
  double factor;
  double original;             ///< L0, tokens
  double unscaled_turns = 32;  ///< a: pairs that turn more often keep f_i
  double scaled_turns = 1;     ///< b: pairs that turn less often become f_i / s
};

/// Llama 3 (arXiv:2407.21783). With w = 2 pi / f_i the wavelength: f_i where w < L0 / high, f_i / s
/// where w > L0 / low, between them (1 - k) f_i / s + k f_i with k = (L0 / w - low) / (high - low).
struct RopeLlama3 {
  double factor = 8;
  double original = 8192;  ///< L0, tokens
  double low = 1;          ///< turns within L0
  double high = 4;         ///< turns within L0, > low
};

/// NTK-by-parts with two ramps, as FiTv2 uses it (arXiv:2410.13925):
///   g_i = f_i / s ramp_i + ntk_i (1 - ramp_i)       over the `inner` turns
///   result g_i ramp'_i + f_i (1 - ramp'_i)          over the `outer` turns
struct RopeNtkByParts {
  struct Turns {
    double unscaled, scaled;
  };
  double factor;
  double original;             ///< L0, tokens
  Turns inner = {1.25, 0.75};  ///< from NTK-aware to linear
  Turns outer = {16, 2};       ///< from plain to the inner mixture
};

namespace detail {

inline constexpr double kTurn = 6.283185307179586;  // radians

inline void check_rope(Index rotary, double base) {
  require(rotary > 0 && rotary % 2 == 0, "RoPE: ", rotary,
          " rotary channels; they turn in pairs, give a positive even number");
  require(base > 1 && std::isfinite(base), "RoPE: base is ", base, ", wanted a number above 1");
}

inline void check_rope_factor(double factor) {
  require(factor >= 1 && std::isfinite(factor), "RoPE: scaling factor is ", factor,
          ", wanted 1 (none) or more");
}

inline void check_rope_context(double original) {
  require(original > 0 && std::isfinite(original), "RoPE: original context is ", original,
          " tokens, wanted a positive number");
}

inline double mix(double from, double to, double share) { return from * (1 - share) + to * share; }

/// The ramp of the comment at the top, as a function of the pair.
class RopeRamp {
 public:
  RopeRamp(Index rotary, double base, double original, double unscaled_turns, double scaled_turns) {
    require(unscaled_turns > scaled_turns && scaled_turns > 0 && std::isfinite(unscaled_turns),
            "RoPE: ramp from ", unscaled_turns, " to ", scaled_turns,
            " turns; the first must be larger and both positive");
    const auto pair = [&](double turns) {
      return static_cast<double>(rotary) * std::log(original / (kTurn * turns)) /
             (2 * std::log(base));
    };
    low_ = std::max(std::floor(pair(unscaled_turns)), 0.0);
    high_ = std::min(std::ceil(pair(scaled_turns)), static_cast<double>(rotary - 1));
    high_ = std::max(high_, low_ + 0.001);
  }

  double operator()(std::size_t i) const noexcept {
    return std::clamp((static_cast<double>(i) - low_) / (high_ - low_), 0.0, 1.0);
  }

 private:
  double low_, high_;
};

}  // namespace detail

inline RopeFrequencies rope_frequencies(Index rotary, double base = 10000.0) {
  detail::check_rope(rotary, base);
  RopeFrequencies f;
  f.radians.resize(static_cast<std::size_t>(rotary / 2));
  for (std::size_t i = 0; i < f.radians.size(); ++i) {
    f.radians[i] = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary));
  }
  return f;
}

inline RopeFrequencies rope_frequencies(Index rotary, double base, const RopeLinear& scaling) {
  detail::check_rope_factor(scaling.factor);
  RopeFrequencies f = rope_frequencies(rotary, base);
  for (double& radians : f.radians) radians /= scaling.factor;
  return f;
}

inline RopeFrequencies rope_frequencies(Index rotary, double base, const RopeNtk& scaling) {
  detail::check_rope_factor(scaling.factor);
  require(rotary > 2, "RoPE: NTK-aware scaling needs more than 2 rotary channels");
  const auto r = static_cast<double>(rotary);
  return rope_frequencies(rotary, base * std::pow(scaling.factor, r / (r - 2)));
}

inline RopeFrequencies rope_frequencies(Index rotary, double base, const RopeYarn& scaling) {
  detail::check_rope_factor(scaling.factor);
  detail::check_rope_context(scaling.original);
  RopeFrequencies f = rope_frequencies(rotary, base);
  const detail::RopeRamp ramp(rotary, base, scaling.original, scaling.unscaled_turns,
                              scaling.scaled_turns);
  for (std::size_t i = 0; i < f.radians.size(); ++i) {
    f.radians[i] = detail::mix(f.radians[i], f.radians[i] / scaling.factor, ramp(i));
  }
  f.magnitude = 1 + 0.1 * std::log(scaling.factor);
  return f;
}

inline RopeFrequencies rope_frequencies(Index rotary, double base, const RopeLlama3& scaling) {
  detail::check_rope_factor(scaling.factor);
  detail::check_rope_context(scaling.original);
  require(scaling.high > scaling.low && scaling.low > 0 && std::isfinite(scaling.high),
          "RoPE: Llama 3 scaling between ", scaling.low, " and ", scaling.high,
          " turns; the second must be larger and both positive");
  RopeFrequencies f = rope_frequencies(rotary, base);
  for (double& radians : f.radians) {
    // Above `high` turns within L0 the share of the unscaled frequency is 1, below `low` it is 0.
    const double turns = scaling.original * radians / detail::kTurn;
    const double share = std::clamp((turns - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0);
    radians = detail::mix(radians / scaling.factor, radians, share);
  }
  return f;
}

inline RopeFrequencies rope_frequencies(Index rotary, double base, const RopeNtkByParts& scaling) {
  detail::check_rope_context(scaling.original);
  RopeFrequencies f = rope_frequencies(rotary, base);
  const RopeFrequencies ntk = rope_frequencies(rotary, base, RopeNtk{scaling.factor});
  const detail::RopeRamp inner(rotary, base, scaling.original, scaling.inner.unscaled,
                               scaling.inner.scaled);
  const detail::RopeRamp outer(rotary, base, scaling.original, scaling.outer.unscaled,
                               scaling.outer.scaled);
  for (std::size_t i = 0; i < f.radians.size(); ++i) {
    const double linear = f.radians[i] / scaling.factor;
    const double scaled = detail::mix(ntk.radians[i], linear, inner(i));
    f.radians[i] = detail::mix(f.radians[i], scaled, outer(i));
  }
  return f;
}

}  // namespace weft
