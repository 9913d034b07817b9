#pragma once

#include <weft/core/dtype/bf16.hpp>
#include <weft/core/dtype/fp16.hpp>
#include <weft/core/dtype/lanes16.hpp>

/// Whole registers converted between storage and arithmetic types: one struct per storage type,
/// with the operations of core/dtype.hpp.
namespace weft::detail {

template <class S, class A>
struct Converted;

/// What bf16 and fp16 share: `Codec` turns 16-bit words in 32-bit lanes into floats and back.
template <class S, class A, class Codec>
struct Converted16 {
  using Float = Vec<float, A>;

  [[gnu::always_inline]] static Float load(const S* p) noexcept {
    return Codec::decode(load_words<A>(&p->bits));
  }
  [[gnu::always_inline]] static Float load_partial(const S* p, Index n) noexcept {
    return Codec::decode(load_words_partial<A>(reinterpret_cast<const std::uint16_t*>(p), n));
  }
  [[gnu::always_inline]] static void store(S* p, const Float& v) noexcept {
    store_words<A>(&p->bits, Codec::encode(v));
  }
  [[gnu::always_inline]] static void store_partial(S* p, const Float& v, Index n) noexcept {
    store_words_partial<A>(reinterpret_cast<std::uint16_t*>(p), Codec::encode(v), n);
  }
};

template <class A>
struct Bf16Codec {
  using Float = Vec<float, A>;
  using Words = Vec<std::uint32_t, A>;
  using Int = Vec<std::int32_t, A>;

  [[gnu::always_inline]] static Float decode(const Words& words) noexcept {
    return reinterpret<float>(words << 16);
  }

  /// Integer arithmetic on purpose: the AVX-512 conversion instruction flushes denormals.
  [[gnu::always_inline]] static Words encode(const Float& v) noexcept {
    const Int bits = reinterpret<std::int32_t>(v);
    const Int rounded = bits + Int(0x7fff) + ((bits >> 16) & Int(1));
    const auto nan = (bits & Int(0x7fffffff)) > Int(0x7f800000);
    return reinterpret<std::uint32_t>(xsimd::select(nan, bits | Int(0x00400000), rounded)) >> 16;
  }
};

/// For instruction sets without conversions of half precision; the steps are those of `fp16`.
template <class A>
struct Fp16Codec {
  using Float = Vec<float, A>;
  using Words = Vec<std::uint32_t, A>;
  using Int = Vec<std::int32_t, A>;

  [[gnu::always_inline]] static Float decode(const Words& words) noexcept {
    const Int bits = reinterpret<std::int32_t>(words);
    const Int magnitude = bits & Int(0x7fff);
    const Int sign = (bits & Int(0x8000)) << 16;
    const Int shifted = magnitude << 13;
    const Int denormal = reinterpret<std::int32_t>(xsimd::to_float(magnitude) * Float(0x1p-24f));
    const Int quiet = xsimd::select(magnitude > Int(0x7c00), Int(0x00400000), Int(0));
    Int wide = xsimd::select(magnitude < Int(0x0400), denormal, shifted + Int(0x38000000));
    wide = xsimd::select(magnitude < Int(0x7c00), wide, shifted | Int(0x7f800000) | quiet);
    return reinterpret<float>(sign | wide);
  }

  [[gnu::always_inline]] static Words encode(const Float& v) noexcept {
    const Int bits = reinterpret<std::int32_t>(v);
    const Int magnitude = bits & Int(0x7fffffff);
    const Int sign = (bits >> 16) & Int(0x8000);
    const Float half(0.5f);
    const Int denormal = reinterpret<std::int32_t>(reinterpret<float>(magnitude) + half) -
                         reinterpret<std::int32_t>(half);
    const Int normal =
        (magnitude - Int(0x38000000) + Int(0x0fff) + ((magnitude >> 13) & Int(1))) >> 13;
    const Int nan = Int(0x7e00) | ((magnitude >> 13) & Int(0x01ff));
    Int narrow = xsimd::select(magnitude < Int(0x38800000), denormal, normal);
    narrow = xsimd::select(magnitude < Int(0x477ff000), narrow, Int(0x7c00));
    narrow = xsimd::select(magnitude > Int(0x7f800000), nan, narrow);
    return reinterpret<std::uint32_t>(sign | narrow);
  }
};

template <class A>
struct Converted<bf16, A> : Converted16<bf16, A, Bf16Codec<A>> {};

template <class A>
  requires(!kHalfConversion<A>)
struct Converted<fp16, A> : Converted16<fp16, A, Fp16Codec<A>> {};

#if defined(__F16C__) || defined(__AVX512F__)
template <class A>
  requires kHalfConversion<A>
struct Converted<fp16, A> {
  using Float = Vec<float, A>;
  static constexpr Index kLanes = kWidth<float, A>;

  [[gnu::always_inline]] static Float load(const fp16* p) noexcept {
    if constexpr (kLanes == 16)
      return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    else
      return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  [[gnu::always_inline]] static void store(fp16* p, const Float& v) noexcept {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    if constexpr (kLanes == 16)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, kNearest));
    else
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, kNearest));
  }
  [[gnu::always_inline]] static Float load_partial(const fp16* p, Index n) noexcept {
    alignas(64) fp16 words[kLanes] = {};
    if (n > 0) std::memcpy(words, p, static_cast<std::size_t>(n) * sizeof *p);
    return load(words);
  }
  [[gnu::always_inline]] static void store_partial(fp16* p, const Float& v, Index n) noexcept {
    alignas(64) fp16 words[kLanes];
    store(words, v);
    if (n > 0) std::memcpy(p, words, static_cast<std::size_t>(n) * sizeof *p);
  }
};
#endif

/// float in memory, double in registers.
template <class A>
struct Converted<float, A> {
  using Double = Vec<double, A>;
  static constexpr Index kLanes = kWidth<double, A>;

  // xsimd 8 converts lane by lane through memory here.
  [[gnu::always_inline]] static Double load(const float* p) noexcept {
#if defined(__AVX512F__)
    if constexpr (kLanes == 8) return _mm512_cvtps_pd(_mm256_loadu_ps(p));
#endif
    return Double::load_unaligned(p);
  }
  [[gnu::always_inline]] static void store(float* p, const Double& v) noexcept {
#if defined(__AVX512F__)
    if constexpr (kLanes == 8) return _mm256_storeu_ps(p, _mm512_cvtpd_ps(v));
#endif
    v.store_unaligned(p);
  }
  [[gnu::always_inline]] static Double load_partial(const float* p, Index n) noexcept {
    alignas(64) float lanes[kLanes] = {};
    if (n > 0) std::memcpy(lanes, p, static_cast<std::size_t>(n) * sizeof *p);
    return load(lanes);
  }
  [[gnu::always_inline]] static void store_partial(float* p, const Double& v, Index n) noexcept {
    alignas(64) float lanes[kLanes];
    store(lanes, v);
    if (n > 0) std::memcpy(p, lanes, static_cast<std::size_t>(n) * sizeof *p);
  }
};

}  // namespace weft::detail
