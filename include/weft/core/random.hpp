#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

namespace weft {

/// Philox 4x32-10, a counter-based generator (Salmon et al., "Parallel random numbers: as easy as
/// 1, 2, 3", SC 2011).
///
///   Philox random(seed, stream);
///   random.normal(weights.span());
///
/// A stream is a sequence of 2^66 words, and the number at a position is a function of (seed,
/// stream, position) alone: however a sequence is cut into calls, threads or `seek`s, it is the
/// same. One number takes one word. All results are bit-identical on every compiler and processor;
/// the normal numbers therefore come from arithmetic written out here rather than from the C
/// library. It also is a std::uniform_random_bit_generator, but the distributions of <random> may
/// differ among standard libraries.
class Philox {
 public:
  using Counter = std::array<std::uint32_t, 4>;
  using Key = std::array<std::uint32_t, 2>;
  using result_type = std::uint32_t;

  constexpr explicit Philox(std::uint64_t seed, std::uint64_t stream = 0) noexcept
      : key_{low(seed), high(seed)}, stream_(stream) {
    seek(0);
  }

  /// The four words that belong to a counter: the bijection itself.
  static constexpr Counter block(Counter counter, Key key) noexcept;

  /// Words taken so far.
  constexpr std::uint64_t position() const noexcept { return position_; }
  constexpr void seek(std::uint64_t position) noexcept {
    position_ = position;
    words_ = block_at(position / 4);
  }

  /// The next 32 random bits.
  constexpr std::uint32_t operator()() noexcept {
    const std::uint32_t word = words_[position_ % 4];
    if (++position_ % 4 == 0) words_ = block_at(position_ / 4);
    return word;
  }
  static constexpr std::uint32_t min() noexcept { return 0; }
  static constexpr std::uint32_t max() noexcept { return 0xffffffffu; }

  /// A multiple of 2^-24 in [0, 1).
  constexpr float uniform() noexcept { return static_cast<float>((*this)() >> 8) * 0x1p-24f; }
  constexpr void uniform(std::span<float> out) noexcept {
    for (float& x : out) x = uniform();
  }

  /// Normally distributed with mean 0 and variance 1; |x| < 6.8. By the method of Box and Muller,
  /// which makes a pair of numbers out of a pair of words: those at positions 2 i and 2 i + 1.
  float normal() noexcept;
  void normal(std::span<float> out) noexcept;

 private:
  static constexpr std::uint32_t low(std::uint64_t x) noexcept {
    return static_cast<std::uint32_t>(x);
  }
  static constexpr std::uint32_t high(std::uint64_t x) noexcept {
    return static_cast<std::uint32_t>(x >> 32);
  }
  constexpr Counter block_at(std::uint64_t number) const noexcept {
    return block({low(number), high(number), low(stream_), high(stream_)}, key_);
  }

  Key key_;
  std::uint64_t stream_;
  std::uint64_t position_ = 0;
  Counter words_{};
};

constexpr Philox::Counter Philox::block(Counter c, Key key) noexcept {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xd2511f53u} * c[0];
    const std::uint64_t b = std::uint64_t{0xcd9e8d57u} * c[2];
    c = {high(b) ^ c[1] ^ key[0], low(b), high(a) ^ c[3] ^ key[1], low(a)};
    key = {key[0] + 0x9e3779b9u, key[1] + 0xbb67ae85u};
  }
  return c;
}

namespace detail {

// Every step below is one correctly rounded operation: std::fma where a product is added to, so
// that no compiler has a choice. 2^-35 is enough, because the results are rounded to float.

/// -ln((w + 1/2) / 2^32).
inline double minus_log_of_word(std::uint32_t w) noexcept {
  const std::uint64_t odd = 2 * std::uint64_t{w} + 1;  // u = odd / 2^33
  const int bits = 64 - std::countl_zero(odd);
  int exponent = bits - 33;  // u = m 2^exponent, first with m in [1/2, 1]
  double m = static_cast<double>(odd) / static_cast<double>(std::uint64_t{1} << bits);
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  // ln m = 2 atanh(s) = 2 (s + s^3 / 3 + s^5 / 5 + ...), |s| < 0.172
  const double s = (m - 1) / (m + 1);
  const double z = s * s;
  double sum = 1. / 15;
  for (const double c : {1. / 13, 1. / 11, 1. / 9, 1. / 7, 1. / 5, 1. / 3, 1.})
    sum = std::fma(sum, z, c);
  const double log_m = 2 * s * sum;
  return std::fma(-static_cast<double>(exponent), 0.69314718055994530942, -log_m);
}

struct SineCosine {
  double sine, cosine;
};

/// Sine and cosine of the angle w / 2^32 of a full turn.
inline SineCosine turn(std::uint32_t w) noexcept {
  // Quarter turns are counted off, to the nearest, so that the rest is within an eighth.
  const std::uint32_t quarter = (w + 0x20000000u) >> 30;
  const auto rest = static_cast<std::int32_t>(w - (quarter << 30));
  const double x = rest * (6.28318530717958647693 * 0x1p-32);
  const double z = x * x;
  double sine = -1. / 39916800;
  for (const double c : {1. / 362880, -1. / 5040, 1. / 120, -1. / 6, 1.})
    sine = std::fma(sine, z, c);
  sine *= x;
  double cosine = 1. / 479001600;
  for (const double c : {-1. / 3628800, 1. / 40320, -1. / 720, 1. / 24, -1. / 2, 1.})
    cosine = std::fma(cosine, z, c);
  switch (quarter & 3u) {
    case 0: return {sine, cosine};
    case 1: return {cosine, -sine};
    case 2: return {-sine, -cosine};
    default: return {-cosine, sine};
  }
}

struct NormalPair {
  float first, second;
};

inline NormalPair normal_pair(std::uint32_t a, std::uint32_t b) noexcept {
  const double radius = std::sqrt(2 * minus_log_of_word(a));
  const SineCosine direction = turn(b);
  return {static_cast<float>(radius * direction.cosine),
          static_cast<float>(radius * direction.sine)};
}

}  // namespace detail

inline float Philox::normal() noexcept {
  const std::size_t at = position_ % 4;
  const detail::NormalPair pair = detail::normal_pair(words_[at - at % 2], words_[at - at % 2 + 1]);
  (*this)();
  return at % 2 == 0 ? pair.first : pair.second;
}

inline void Philox::normal(std::span<float> out) noexcept {
  std::size_t i = 0;
  if (position_ % 2 != 0 && !out.empty()) out[i++] = normal();
  for (; i + 2 <= out.size(); i += 2) {
    const std::uint32_t a = (*this)(), b = (*this)();
    const detail::NormalPair pair = detail::normal_pair(a, b);
    out[i] = pair.first;
    out[i + 1] = pair.second;
  }
  if (i < out.size()) out[i] = normal();
}

}  // namespace weft
