#pragma once

#include <weft/core/bytes.hpp>
#include <weft/core/dtype/lanes16.hpp>
#include <weft/quant/float_format.hpp>

#include <span>

/// Many codes of a small floating-point format at a time, one byte each (float_format.hpp has the
/// formats and the rules of rounding): the same values and codes, bit for bit, as one by one.
///
///   decode_codes<kE4M3>(bytes, floats);            // rows of a KV cache, tiles of a weight
///   encode_codes<kE4M3>(floats, bytes);
///   Vec<float> v = load_codes<kE4M3>(p);           // one register inside a kernel
namespace weft::quant {

namespace detail {

using weft::detail::reinterpret;

/// A format's arithmetic on registers. The steps are those of FloatFormat::decode and encode.
template <FloatFormat F, class A>
struct FloatCodec {
  static_assert(F.bits() <= 8, "codes of bytes are for formats of at most 8 bits");

  using Float = Vec<float, A>;
  using Int = Vec<std::int32_t, A>;

  static constexpr int kDropped = 23 - F.mantissa_bits;
  static constexpr std::int32_t kOne = (127 - F.bias) << 23;
  static constexpr std::int32_t kFirst = kOne + (1 << 23);  ///< the smallest normal number
  static constexpr auto kSign = static_cast<std::int32_t>(F.sign_bit());
  static constexpr auto kMax = static_cast<std::int32_t>(F.max_code());
  static constexpr auto kNan = static_cast<std::int32_t>(F.nan_code());

  [[gnu::always_inline]] static Float decode(const Int& codes) noexcept {
    const Int size = codes & Int(kSign - 1);
    const Int sign = (codes & Int(kSign)) << (32 - F.bits());
    const Int shifted = size << kDropped;
    const Float first = reinterpret<float>(Int(kFirst));
    const Int subnormal =
        reinterpret<std::int32_t>(reinterpret<float>(shifted + Int(kFirst)) - first);
    Int word = xsimd::select(shifted < Int(1 << 23), subnormal, shifted + Int(kOne));
    if constexpr (F.specials != Specials::none)
      word = xsimd::select(size > Int(kMax), Int(0x7fc00000), word);
    if constexpr (F.specials == Specials::ieee)
      word = xsimd::select(size == Int(kMax + 1), Int(0x7f800000), word);
    return reinterpret<float>(sign | word);
  }

  template <Overflow O>
  [[gnu::always_inline]] static Int encode(const Float& x) noexcept {
    const Int word = reinterpret<std::int32_t>(x);
    const Int size = word & Int(0x7fffffff);
    const Int sign = (word >> (32 - F.bits())) & Int(kSign);
    const Int anchor(kOne + ((24 - F.mantissa_bits) << 23));
    const Int subnormal =
        reinterpret<std::int32_t>(reinterpret<float>(size) + reinterpret<float>(anchor)) - anchor;
    const Int exact = size - Int(kOne);
    const Int normal =
        (exact + Int((1 << (kDropped - 1)) - 1) + ((exact >> kDropped) & Int(1))) >> kDropped;
    Int code = xsimd::select(size < Int(kFirst), subnormal, normal);
    constexpr auto kBeyond = static_cast<std::int32_t>(F.overflow_code(O));
    code = xsimd::select(code > Int(kMax), Int(kBeyond), code);
    const auto nan = size > Int(0x7f800000);
    if constexpr (F.specials == Specials::none) return xsimd::select(nan, Int(0), code | sign);
    return xsimd::select(nan, Int(kNan), code) | sign;
  }
};

/// The values of as many bytes as a register has floats.
template <FloatFormat F, class A>
[[gnu::always_inline]] inline Vec<float, A> decode_bytes(const std::uint8_t* p) noexcept {
  return FloatCodec<F, A>::decode(load_bytes<A>(p));
}

#if defined(__F16C__) || defined(__AVX512F__)
/// Two of the formats are halves with bits left out, which the processor converts.
template <FloatFormat F, class A>
concept ByHalves = (F == kE4M3 || F == kE5M2) && weft::detail::kHalfConversion<A>;

/// Bytes as words, their sign extended.
template <class A>
[[gnu::always_inline]] inline auto load_signed_words(const std::uint8_t* p) noexcept {
  if constexpr (kWidth<float, A> == 16)
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  else
    return _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
template <class A, class Words>
[[gnu::always_inline]] inline Vec<float, A> floats_of(const Words& halves) noexcept {
  if constexpr (kWidth<float, A> == 16)
    return _mm512_cvtph_ps(halves);
  else
    return _mm256_cvtph_ps(halves);
}

/// E5M2 is the upper byte of a half.
template <FloatFormat F, class A>
  requires(ByHalves<F, A> && F == kE5M2)
[[gnu::always_inline]] inline Vec<float, A> decode_bytes(const std::uint8_t* p) noexcept {
  const auto words = load_signed_words<A>(p);
  if constexpr (kWidth<float, A> == 16)
    return floats_of<A>(_mm256_slli_epi16(words, 8));
  else
    return floats_of<A>(_mm_slli_epi16(words, 8));
}

/// E4M3 is a half of 2^-8 times the value, but for NaN, which would be 480.
template <FloatFormat F, class A>
  requires(ByHalves<F, A> && F == kE4M3)
[[gnu::always_inline]] inline Vec<float, A> decode_bytes(const std::uint8_t* p) noexcept {
  const auto words = load_signed_words<A>(p);
  constexpr auto kKept = static_cast<short>(0xbf80);  // all but the second copy of the sign
  Vec<float, A> v;
  if constexpr (kWidth<float, A> == 16)
    v = floats_of<A>(_mm256_and_si256(_mm256_slli_epi16(words, 7), _mm256_set1_epi16(kKept)));
  else
    v = floats_of<A>(_mm_and_si128(_mm_slli_epi16(words, 7), _mm_set1_epi16(kKept)));
  v *= Vec<float, A>(256.f);
  return xsimd::select(xsimd::abs(v) < Vec<float, A>(480.f), v,
                       Vec<float, A>(std::numeric_limits<float>::quiet_NaN()));
}
#endif

/// Calls whole(i) for every full register of n lanes and rest(i, lanes) for what remains.
template <class A, class Whole, class Rest>
[[gnu::always_inline]] inline void for_registers(Index n, Whole whole, Rest rest) noexcept {
  Index i = 0;
  for (; i + kWidth<float, A> <= n; i += kWidth<float, A>) whole(i);
  if (i < n) rest(i, n - i);
}

}  // namespace detail

/// The values of as many codes as a register has floats.
template <FloatFormat F, class A = DefaultArch>
[[gnu::always_inline]] inline Vec<float, A> load_codes(const std::uint8_t* p) noexcept {
  return detail::decode_bytes<F, A>(p);
}

/// Those of the first n codes, 0 <= n <= width, and zeros; reads nothing beyond them.
template <FloatFormat F, class A = DefaultArch>
[[gnu::always_inline]] inline Vec<float, A> load_codes_partial(const std::uint8_t* p,
                                                               Index n) noexcept {
  alignas(16) std::uint8_t bytes[kWidth<float, A>] = {};
  if (n > 0) std::memcpy(bytes, p, static_cast<std::size_t>(n));
  return detail::decode_bytes<F, A>(bytes);
}

/// The codes of a register of floats.
template <FloatFormat F, class A = DefaultArch, Overflow O = Overflow::saturate>
[[gnu::always_inline]] inline void store_codes(std::uint8_t* p, const Vec<float, A>& v) noexcept {
  store_bytes<A>(p, detail::FloatCodec<F, A>::template encode<O>(v));
}

/// Those of its first n lanes, 0 <= n <= width; touches nothing beyond them.
template <FloatFormat F, class A = DefaultArch, Overflow O = Overflow::saturate>
[[gnu::always_inline]] inline void store_codes_partial(std::uint8_t* p, const Vec<float, A>& v,
                                                       Index n) noexcept {
  store_bytes_partial<A>(p, detail::FloatCodec<F, A>::template encode<O>(v), n);
}

/// The values of all codes. Throws when the sizes differ.
template <FloatFormat F, class A = DefaultArch>
void decode_codes(std::span<const std::uint8_t> codes, std::span<float> to) {
  require(codes.size() == to.size(), codes.size(), " codes to decode, room for ", to.size());
  const std::uint8_t* from = codes.data();
  detail::for_registers<A>(
      static_cast<Index>(codes.size()),
      [&](Index i) { store<A>(to.data() + i, load_codes<F, A>(from + i)); },
      [&](Index i, Index n) {
        store_partial<A>(to.data() + i, load_codes_partial<F, A>(from + i, n), n);
      });
}

/// The codes of all numbers. Throws when the sizes differ.
template <FloatFormat F, class A = DefaultArch, Overflow O = Overflow::saturate>
void encode_codes(std::span<const float> numbers, std::span<std::uint8_t> to) {
  require(numbers.size() == to.size(), numbers.size(), " numbers to encode, room for ", to.size());
  const float* from = numbers.data();
  detail::for_registers<A>(
      static_cast<Index>(numbers.size()),
      [&](Index i) { store_codes<F, A, O>(to.data() + i, load<A>(from + i)); },
      [&](Index i, Index n) {
        store_codes_partial<F, A, O>(to.data() + i, load_partial<A>(from + i, n), n);
      });
}

}  // namespace weft::quant
